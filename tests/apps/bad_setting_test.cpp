// Tests flags and values that rse-train cannot use.
#include "tests/apps/bad_input.h"

namespace rse {
namespace {

const BadCase kCases[] = {
    {"NoConfiguration", "", {"--config is required", "rse-train --help"}},
    {"UnknownFlag", "--config run.yaml --fast", {"--fast"}},
    {"FlagWithoutItsValue", "--config run.yaml --set", {"--set"}},
    {"AnotherArgument", "--config run.yaml again", {"again"}},
    {"SetWithoutAValue", "--config run.yaml --set train.steps", {"--set train.steps: expected KEY=VALUE"}},
    {"SetWithoutAKey", "--config run.yaml --set =1", {"--set =1: expected KEY=VALUE"}},
    {"SetWithAnEmptyKey",
     "--config run.yaml --set train..steps=1",
     {"--set train..steps=1: a key between dots is empty"}},
    {"SetOfAnUnknownKey",
     "--config run.yaml --set train.step=1",
     {"--set train.step=1: unknown key 'train.step'", "'steps'"}},
    {"SetToNothing", "--config run.yaml --set output=", {"--set output=: output: not set: expected a value"}},
    {"SetToATilde",
     "--config run.yaml --set output=~/x",
     {"--set output=~/x: output: '~/x': '~' is not expanded here"}},
    {"SetToAVariable",
     "--config run.yaml --set 'data.train=$RSE_UNSET/x.bin'",
     {"data.train: '$RSE_UNSET/x.bin': '$RSE_UNSET' is not expanded here"}},
    {"SetToWhatYamlWouldCut",
     "--config run.yaml --set 'data.train=a #b'",
     {"data.train: 'a #b' does not exist"}},
    {"SetToWhatYamlWouldDrop", "--config run.yaml --set data.train=%x", {"data.train: '%x' does not exist"}},
    {"SetToANumberAndAComment",
     "--config run.yaml --set 'train.steps=6 # few'",
     {"train.steps: '6 # few': expected a whole number"}},
    {"ResumeFromNothing", "--config run.yaml --resume ''", {"--resume: '': expected a value"}},
    {"ResumeFromNothingByAnEqualsSign", "--config run.yaml --resume=", {"--resume: '': expected a value"}},
    {"SetToBrokenYaml", "--config run.yaml --set 'train.seeds=[1'", {"--set train.seeds=[1"}},
    {"HeadsThatDoNotDivide",
     "--config run.yaml --set model.heads=3",
     {"model.heads: '3': expected a divisor of model.width (16)"}},
    {"OddHeadDim",
     "--config run.yaml --set model.width=18",
     {"run.yaml:1: model.heads: '2'", "18 / 2 = 9", "multiple of 8"}},
    {"TooLargeHeadDim", "--config run.yaml --set model.width=272", {"272 / 2 = 136", "from 8 to 128"}},
    {"ZeroLength", "--config run.yaml --set data.seq_len=0", {"data.seq_len: '0'"}},
    {"LengthBeyondTheText",
     "--config run.yaml --set data.seq_len=4096 --set validation.length=32 --set data.packing=packed",
     {"train.bin: 240 tokens give no packed sequence of 4096"}},
    {"LengthBeyondTheTable",
     "--config run.yaml --set model.position.method=learned --set model.position.learned.max_positions=16",
     {"run.yaml: data.seq_len: '32'", "at most 16"}},
    {"ValidationBeyondItsText",
     "--config run.yaml --set validation.length=128",
     {"valid.bin: its longest document has 70 tokens: expected at least 128"}},
    {"ValidationPiecesBeyondTheText",
     "--config run.yaml --set validation.piece_tokens=128",
     {"valid.bin: its longest document has 70 tokens: expected at least 128"}},
    {"ValidationPiecesThatDoNotDivide",
     "--config run.yaml --set validation.piece_tokens=48",
     {"validation.piece_tokens: '48'"}},
    {"MinTokensBeyondTheLength",
     "--config run.yaml --set data.min_tokens=64",
     {"--set data.min_tokens=64: data.min_tokens: '64': expected at most data.seq_len (32)"}},
    {"UnknownDevice",
     "--config run.yaml --device tpu",
     {"--set train.device=tpu: train.device: 'tpu': expected one of auto, cpu, cuda"}},
    {"UnknownLogLevel", "--config run.yaml --log-level loud", {"--log-level"}},
    {"SeedsTwice",
     "--config run.yaml --set 'train.seeds=[1, 1]'",
     {"train.seeds: [1, 1]: expected at least one seed, each once"}},
    {"NoSeed", "--config run.yaml --set 'train.seeds=[]'", {"train.seeds: []"}},
    {"NoTargetInValidation",
     "--config run.yaml --set data.mask.probability=1e-9",
     {"run.yaml: data.mask.probability: '1e-09': no target in 2 validation pieces of 32 tokens of "
      "valid.bin"}},
    // Each setting is legal alone, but together they need more memory than any machine has.
    {"ModelBeyondMemory",
     "--config run.yaml --set model.layers=1000 --set model.width=65536 --set model.heads=1024",
     {"run.yaml: model", "TiB of host memory, expected at most"}},
    {"BatchBeyondMemory",
     "--config run.yaml --set train.batch_size=1048576 --set train.accumulation=1048576",
     {"train.batch_size '1048576'", "memory, expected at most"}},
    {"TableBeyondMemory",
     "--config run.yaml --set model.position.method=learned --set "
     "model.position.learned.max_positions=16777216 --set model.width=65536 --set model.heads=1024",
     {"memory, expected at most"}},
    {"SeedsBeyondMemory",
     "--config run.yaml --set model.width=8192 --set model.heads=64 --set model.layers=100 --set "
     "'train.seeds=[1, 2, 3, 4, 5, 6, 7, 8, 9]'",
     {"1 arms x 9 seeds", "memory, expected at most"}},
    {"BatchOfTooManyTokens",
     "--config run.yaml --set data.seq_len=16777216 --set train.batch_size=1024",
     {"train.batch_size: '1024': expected at most 127"}},
    {"WidthBeyondItsRange",
     "--config run.yaml --set model.width=16777216",
     {"model.width: '16777216'", "at most 65536"}},
    {"ValidationBatchBeyondItsRange",
     "--config run.yaml --set validation.batch_tokens=4294967296",
     {"validation.batch_tokens: '4294967296'", "at most 1073741824"}},
    {"ThreadsBeyondTheirRange",
     "--config run.yaml --set train.threads=4096",
     {"train.threads: '4096'", "at most 1024"}},
};

class BadTrainCommand : public BadInput, public testing::WithParamInterface<BadCase> {};

TEST_P(BadTrainCommand, EndsInOneLine) {
  write_run();
  expect_train_error(GetParam().arguments, GetParam().parts);
}

INSTANTIATE_TEST_SUITE_P(Train, BadTrainCommand, testing::ValuesIn(kCases), case_name);

TEST_F(BadInput, CudaAskedForAndAbsent) {
  write_run();
  expect_user_error(RSE_TRAIN_PROGRAM, "--log-level error --config run.yaml --output run --device cuda",
                    {"--device: 'cuda': no CUDA device"}, "CUDA_VISIBLE_DEVICES=");
}

TEST_F(BadInput, ARunFolderThatHoldsARun) {
  write_run();
  write("run/config.yaml", "");
  expect_train_error("--config run.yaml", {"run folder run already holds a run (config.yaml)"});
}

TEST_F(BadInput, ARunFolderThatCannotBe) {
  write_run();
  const auto refused = [&](const std::string& output, const std::vector<std::string>& parts) {
    expect_user_error(RSE_TRAIN_PROGRAM, "--log-level error --config run.yaml --output " + output, parts);
  };
  refused("run.yaml", {"cannot make folder run.yaml: Not a directory"});
  refused("new/../run.yaml/run", {"cannot make folder new/../run.yaml/run: Not a directory"});
  refused("/proc/run", {"run folder /proc/run: 0 B free"});
  refused(std::string(5000, 'a'), {"File name too long"});
}

TEST_F(BadInput, SettingsThatCannotBePrinted) {
  write_run();
  const Outcome outcome =
      shell(fmt::format("'{}' --config run.yaml --dump-config >/dev/full", RSE_TRAIN_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, testing::HasSubstr("cannot write standard output: No space left on device"));
}

// Some updates have no target at all: their loss must not be 0 / 0, and the log must say so.
TEST_F(BadInput, UpdatesWithoutATargetGoOn) {
  write_run();
  const Outcome outcome = shell(fmt::format(
      "'{}' --config run.yaml --output run --set data.mask.probability=0.01 --set validation.pieces=0 --set "
      "data.seq_len=8 --set train.batch_size=1 --set train.steps=12",
      RSE_TRAIN_PROGRAM));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, testing::HasSubstr("data.mask.probability: '0.01': an update has 0.08 targets"));
  const std::string metrics = read_file(folder_ / "run/metrics.jsonl");
  EXPECT_THAT(metrics, testing::HasSubstr("\"loss\":0.0,"));
  EXPECT_THAT(metrics, testing::Not(testing::HasSubstr("null")));
  EXPECT_THAT(metrics, testing::Not(testing::HasSubstr("\"skipped\":true")));
}

}  // namespace
}  // namespace rse
