// Runs rse-eval as its users do, on a run that rse-train made.
#include "tests/data/toy_file.h"
#include "tests/program.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

class EvalProgram : public ProgramTest {
 protected:
  void SetUp() override {
    write_toy_file(folder_ / "train.bin", std::vector<int>(20, 64), 64);
    write_toy_file(folder_ / "test.bin", {300, 200, 260}, 64);
    write("toy.yaml",
          "model: {layers: 1, width: 16, heads: 2, ffn_width: 32, position: {learned: {max_positions: 32}}}\n"
          "data: {train: train.bin, valid: test.bin, seq_len: 32, min_tokens: 8}\n"
          "train: {steps: 2, batch_size: 4, warmup_steps: 1, device: cpu, threads: 1}\n"
          "validation: {every: 0, pieces: 2}\n"
          "logging: {tensorboard: false}\n"
          "arms:\n"
          "  learned: {model: {position: {method: learned}}}\n"
          "  rse: {model: {position: {method: rse}}}\n");
    const Outcome trained = shell(fmt::format("'{}' --config toy.yaml --output run", RSE_TRAIN_PROGRAM));
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
  }
  static std::string words(const std::string& more) {
    return "--run run --data test.bin --device cpu --threads 1 " + more;
  }
  Outcome evaluate(const std::string& more, const std::string& environment = "") const {
    return shell(fmt::format("{} '{}' {}", environment, RSE_EVAL_PROGRAM, words(more)));
  }
  size_t lines(const std::string& file) const {
    const std::string text = read_file(folder_ / file);
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }
};

TEST_F(EvalProgram, PrintsATableAndMakesAFolder) {
  const Outcome first = evaluate("--lengths 64,128 --beyond interpolate --no-report");
  ASSERT_EQ(first.exit_code, 0) << first.err;
  for (const char* part : {"learned", "rse", "128", "unigram entropy of the data", "one seed per arm"}) {
    EXPECT_THAT(first.out, testing::HasSubstr(part));
  }
  EXPECT_THAT(first.err, testing::AllOf(testing::HasSubstr("length 32 added"),
                                        testing::HasSubstr("distances below 16 only"),
                                        testing::HasSubstr("beyond a learned table: interpolate")));
  EXPECT_EQ(lines("run/evaluation-1/results.csv"), 1u + 2 * 6 * 3);
  EXPECT_EQ(lines("run/evaluation-1/results.jsonl"), 2u * 6 * 3);
  EXPECT_FALSE(fs::exists(folder_ / "run/evaluation-1/report.html"));

  const Outcome second = evaluate("--arms rse --no-control --no-report --max-targets 9");
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_THAT(second.err, testing::HasSubstr("9 targets"));
  EXPECT_TRUE(fs::exists(folder_ / "run/evaluation-2/evaluation.json"));
  ASSERT_EQ(evaluate("--arms rse --lengths 32 --no-report --output new/place").exit_code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "new/place/results.csv"));
  for (const auto& [path, what] : listing(folder_.path())) {
    EXPECT_THAT(path, testing::Not(testing::HasSubstr(".tmp"))) << what;
  }
}

TEST_F(EvalProgram, AFailingReportLeavesTheResults) {
  const Outcome outcome = evaluate("--arms rse --lengths 32", "RSE_REPORT_PYTHON=false");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, testing::HasSubstr("the results are complete; draw it with: "));
  EXPECT_EQ(lines("run/evaluation-1/results.jsonl"), 1u * 2 * 3);
}

TEST_F(EvalProgram, EightAtOnceKeepEightResults) {
  const std::string one =
      fmt::format("'{}' --log-level warn {}", RSE_EVAL_PROGRAM,
                  words("--arms rse --lengths 32 --no-control --max-targets 9 --no-report"));
  const Outcome all = shell("for i in 1 2 3 4 5 6 7 8; do (" + one +
                            " >/dev/null 2>>errors; echo $? >>codes) & done; wait; cat errors");
  EXPECT_EQ(read_file(folder_ / "codes"), "0\n0\n0\n0\n0\n0\n0\n0\n") << all.out;
  for (int n = 1; n <= 8; ++n) {
    EXPECT_TRUE(fs::exists(folder_ / fmt::format("run/evaluation-{}/evaluation.json", n))) << n;
  }
  for (const auto& [path, what] : listing(folder_ / "run"))
    EXPECT_THAT(path.substr(folder_.path().string().size()), testing::Not(testing::HasSubstr("tmp")));
}

TEST_F(EvalProgram, AnOutputFolderThatAppearsMeanwhileIsLeftAloneAndTheResultsAreKept) {
  write_toy_file(folder_ / "long.bin", std::vector<int>(8, 20000), 64);
  // The log says "checkpoint of step" once the output folder was checked, some seconds before the results.
  const Outcome outcome = shell(fmt::format(
      "{{ '{}' --run run --data long.bin --device cpu --threads 1 --arms rse --lengths 32,64,128 --no-report "
      "--output late 2>&1 >/dev/null; echo \"code $?\"; }} | while read -r line; do "
      "case $line in *'checkpoint of step'*) mkdir late; touch late/x;; esac; echo \"$line\"; done",
      RSE_EVAL_PROGRAM));
  EXPECT_THAT(outcome.out, testing::HasSubstr("code 1\n"));
  EXPECT_THAT(outcome.out,
              testing::HasSubstr("--output: 'late' was made by another process meanwhile: the results "
                                 "are complete in "));
  EXPECT_THAT(listing(folder_ / "late"), testing::SizeIs(1));
  EXPECT_EQ(lines("late-2/results.jsonl"), 1u * 6 * 8);
}

TEST_F(EvalProgram, AStandardOutputThatIsFullIsNamedByItsOwnErrorAndLosesNothing) {
  for (const char* report : {"--no-report", ""}) {  // drawing one sets other errors in between
    const Outcome outcome = shell(fmt::format("'{}' --log-level error {} >/dev/full", RSE_EVAL_PROGRAM,
                                              words(std::string("--arms rse --lengths 32 ") + report)));
    EXPECT_NE(outcome.exit_code, 0);
    if (outcome.err.find("report could not be drawn") != std::string::npos)
      continue;  // a Python without matplotlib
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err,
                testing::StartsWith("rse-eval: error: cannot write standard output: No space left on "
                                    "device; the results are complete in run/evaluation-"));
  }
  EXPECT_TRUE(fs::exists(folder_ / "run/evaluation-1/evaluation.json"));
  EXPECT_TRUE(fs::exists(folder_ / "run/evaluation-2/evaluation.json"));
}

TEST_F(EvalProgram, ATokenFileThatIsCutMeanwhileIsNamed) {
  write_toy_file(folder_ / "long.bin", std::vector<int>(40, 20000), 64);
  const Outcome outcome = shell(fmt::format(
      "'{}' --run run --data long.bin --device cpu --threads 1 --lengths 32,64,128 --beyond tile --no-report "
      "2>log &\n"
      "until grep -q 'distances below' log; do sleep 0.02; done\ntruncate -s 64 long.bin\nwait $!\ncode=$?\n"
      "tail -n 1 log >&2\nexit $code",
      RSE_EVAL_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err,
              testing::StartsWith("rse-eval: error: long.bin: a part of it cannot be read any more"));
  EXPECT_FALSE(fs::exists(folder_ / "run/evaluation-1"));
}

TEST_F(EvalProgram, WarnsOfTextsThatTheRunHasSeen) {
  fs::copy_file(folder_ / "train.bin", folder_ / "other.bin");
  const Outcome outcome = shell(fmt::format(
      "'{}' --run run --data other.bin --device cpu --threads 1 --arms rse --lengths 32 --no-report",
      RSE_EVAL_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, testing::HasSubstr("warning The evaluated texts are the run's training texts"));
  EXPECT_THAT(outcome.out, testing::StartsWith("WARNING: The evaluated texts are the run's training texts"));
}

TEST_F(EvalProgram, ANewerCheckpointWithoutItsMarkIsNamed) {
  fs::create_directories(folder_ / "run/checkpoints/step-9");
  const Outcome outcome = evaluate("--arms rse --lengths 32 --no-report");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err,
              testing::HasSubstr("run/checkpoints/step-9: not evaluated: there is no COMPLETE in it"));
}

TEST_F(EvalProgram, UserErrorsAreOneLineAndLeaveNothing) {
  const auto fails = [&](const std::string& more, const std::string& message) {
    expect_user_error(RSE_EVAL_PROGRAM, words(more), {message});
  };
  fails("--lengths 32,64", "arm learned: its position table has 32 rows");
  fails("--lengths 24,32,64 --beyond tile", "lengths: '24'");
  fails("--lengths '' --beyond tile", "--lengths: ''");
  fails("--arms bert", "--arms: 'bert'");
  fails("--lenghts 32", "--lenghts");
  fails("--max-targets many", "--max-targets");
  fails("--beyond tile --output run", "--output: 'run' is there already");
  fails("--log-level loud", "log level 'loud'");
  fails("--step 1", "no complete checkpoint of step 1");
  expect_user_error(RSE_EVAL_PROGRAM, "--data test.bin", {"--run: ''"});
  expect_user_error(RSE_EVAL_PROGRAM, "--run . --data test.bin", {".: not a run folder"});
  fs::remove(folder_ / "run/checkpoints/step-2/COMPLETE");
  fails("", "run: no complete checkpoint in it");
  EXPECT_EQ(shell(fmt::format("'{}' --help", RSE_EVAL_PROGRAM)).exit_code, 0);
}

}  // namespace
}  // namespace rse
