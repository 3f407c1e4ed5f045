// Tests the run configuration: arms, overrides and error messages.
#include "run/run_config.h"

#include "nn/position/learned.h"
#include "nn/position/rse.h"
#include "tests/support.h"
#include "tests/train/toy_run.h"

namespace rse {
namespace {

RunConfig parse(const std::string& yaml) {
  return make_run_config(parse_config(yaml, "run.yaml"), "run.yaml");
}

TEST(RunConfig, ArmsAreTheBaseMergedWithTheirOverride) {
  const RunConfig config = parse(
      "model: {layers: 3, position: {method: rse, rse: {mass: shared}}}\n"
      "train: {learning_rate: 0.002}\n"
      "arms:\n"
      "  a: {model: {position: {method: rope}}}\n"
      "  b: {train: {decay_learning_rate: 0.5}}\n"
      "  c:\n");
  ASSERT_EQ(config.arms.size(), 3u);
  EXPECT_EQ(config.arms[0].model.position.method, "rope");
  EXPECT_EQ(config.arms[0].model.layers, 3);
  EXPECT_EQ(config.arms[0].differs, "model.position.method=rope");
  EXPECT_EQ(config.arms[1].decay_learning_rate, 0.5);
  EXPECT_EQ(config.arms[1].learning_rate, 0.002);
  EXPECT_EQ(config.arms[1].model.position.keys<RsePositionConfig>().mass, Mass::kShared);
  EXPECT_EQ(config.arms[2].differs, "");
}

TEST(RunConfig, WithoutArmsOneIsNamedAfterItsMethod) {
  const RunConfig config = parse("model: {position: {method: learned}}\n");
  ASSERT_EQ(config.arms.size(), 1u);
  EXPECT_EQ(config.arms[0].name, "learned");
  EXPECT_EQ(config.base.output, "runs/run");
}

TEST(RunConfig, UnequalArmsAreRefused) {
  EXPECT_THAT([] { parse("arms:\n  a:\n    data: {seq_len: 64}\n"); },
              ThrowsUserError("run.yaml:3: arms.a.data.seq_len: an arm may override model.*"));
  EXPECT_THAT([] { parse("arms:\n  a: {train: {steps: 2}}\n"); }, ThrowsUserError("arms.a.train.steps"));
  EXPECT_THAT([] { parse("arms:\n  a: {output: x}\n"); }, ThrowsUserError("arms.a.output"));
  EXPECT_THAT([] { parse("arms:\n  a: 3\n"); }, ThrowsUserError("run.yaml:2"));
  EXPECT_THAT([] { parse("arms: {}\n"); }, ThrowsUserError("at least one arm"));
  EXPECT_THAT([] { parse("arms: {a/b: }\n"); }, ThrowsUserError("name 'a/b'"));
}

TEST(RunConfig, MessagesNameFileLineAndKey) {
  EXPECT_THAT([] { parse("train:\n  stepz: 3\n"); },
              ThrowsUserError("run.yaml:2: unknown key 'train.stepz', did you mean 'steps'?"));
  EXPECT_THAT([] { parse("arms:\n  a:\n    model: {widht: 64}\n"); },
              ThrowsUserError("run.yaml:3: unknown key 'model.widht', did you mean 'width'?"));
  EXPECT_THAT([] { parse("train: {betas: [0.9]}\n"); },
              ThrowsUserError("train.betas: 1 values: expected two"));
  EXPECT_THAT([] { parse("train: {seeds: [1, 1]}\n"); }, ThrowsUserError("train.seeds: [1, 1]"));
  EXPECT_THAT([] { parse("train: {learning_rate: nan}\n"); }, ThrowsUserError("train.learning_rate: 'nan'"));
  EXPECT_THAT([] { parse("train: {steps: 0}\n"); }, ThrowsUserError("of at least 1"));
  EXPECT_THAT([] { parse("train: {device: tpu}\n"); }, ThrowsUserError("expected one of auto, cpu, cuda"));
}

TEST(RunConfig, KeysOfTheRecipeAreCheckedTogether) {
  EXPECT_THAT([] { parse("train:\n  batch_ramp:\n    start: 4\n"); },
              ThrowsUserError("run.yaml:3: train.batch_ramp.start: '4', but train.batch_ramp.steps is 0"));
  EXPECT_THAT([] { parse("train: {batch_ramp: {steps: 9}}\n"); },
              ThrowsUserError("train.batch_ramp.steps: '9', but train.batch_ramp.start is 0"));
  EXPECT_THAT([] { parse("train: {batch_size: 8, accumulation: 2, batch_ramp: {start: 17, steps: 9}}\n"); },
              ThrowsUserError("run.yaml:1: train.batch_ramp.start: '17': expected at most 16"));
  EXPECT_EQ(parse("train: {batch_size: 8, accumulation: 2, batch_ramp: {start: 16, steps: 9}}\n")
                .base.train.update_sizes()
                .at(0),
            16);
  EXPECT_THAT(
      [] { parse("train:\n  decay_steps: 5\n"); },
      ThrowsUserError("run.yaml:2: train.decay_steps: '5': expected 0, because train.schedule is not"));
  EXPECT_THAT([] { parse("train:\n  decay_shape: cosine\n"); },
              ThrowsUserError("run.yaml:2: train.decay_shape: 'cosine': expected sqrt"));
  EXPECT_THAT([] { parse("train: {optimizer: adam}\n"); },
              ThrowsUserError("expected one of adamw, stable_adamw"));
  EXPECT_THAT([] { parse("validation: {mask_rate: 1.5}\n"); },
              ThrowsUserError("validation.mask_rate: '1.5'"));
  EXPECT_THAT([] { parse("arms: {a: {train: {optimizer: adamw}}}\n"); },
              ThrowsUserError("arms.a.train.optimizer: an arm may override"));
}

TEST(RunConfig, ValidationMasksAtItsOwnRateWhereThatIsSet) {
  const RunSettings base = parse("data: {mask: {probability: 0.3, mask_share: 0.5}}\n").base;
  EXPECT_EQ(base.validation_mask(), base.data.mask);
  EXPECT_STREQ(base.validation_mask_key(), "data.mask.probability");
  const RunSettings own =
      parse("data: {mask: {probability: 0.3, mask_share: 0.5}}\nvalidation: {mask_rate: 0.15}\n").base;
  EXPECT_EQ(own.validation_mask(), (MaskingConfig{.probability = 0.15, .mask_share = 0.5}));
  EXPECT_EQ(own.data.mask.probability, 0.3);
  EXPECT_STREQ(own.validation_mask_key(), "validation.mask_rate");
}

TEST(RunConfig, DecayRateOfAnArmWithoutDecayIsAnEmptyGroup) {
  EXPECT_THAT(
      [] { parse("arms:\n  a: {model: {position: {method: rope}}, train: {decay_learning_rate: 0.1}}\n"); },
      ThrowsUserError("run.yaml:2: arms.a.train.decay_learning_rate: '0.1': method 'rope' has no decay"));
}

TEST(RunConfig, DumpReadsBackToTheSameRun) {
  const RunConfig config = parse("train: {steps: 7, seeds: [3, 4]}\n" + std::string(kTwoArms));
  const RunConfig again = make_run_config(parse_config(config.dump(), "dump"), "run.yaml");
  EXPECT_EQ(again.dump(), config.dump());
  ASSERT_EQ(again.arms.size(), 2u);
  EXPECT_EQ(again.arms[0].model, config.arms[0].model);
  EXPECT_EQ(again.base.train.seeds, config.base.train.seeds);
}

TEST(RunConfig, MissingTokenFileTellsHowToMakeOne) {
  EXPECT_THAT([] { open_token_file("", "data.train"); }, ThrowsUserError("data.train: not set"));
  EXPECT_THAT([] { open_token_file("no/such.bin", "data.valid"); },
              ThrowsUserError(": expected a token file (make one with: rse-data "
                              "prepare)"));
}

TEST(RunConfig, VocabularyAndLengthsAreCheckedAgainstTheFiles) {
  const ToyRun toy;
  EXPECT_EQ(toy.config(kTwoArms).arms[0].model.vocab_size, kToyVocabulary);
  EXPECT_THAT([&] { toy.config(kTwoArms, {"model.vocab_size=100"}); }, ThrowsUserError("expected 0 or 64"));
  EXPECT_THAT(
      [&] {
        toy.config("", {"model.position.method=learned", "model.position.learned.max_positions=16"});
      },
      ThrowsUserError("data.seq_len: '32': arm learned expects at most 16"));
  EXPECT_EQ(toy.config("", {"model.position.method=learned", "model.position.learned.max_positions=16",
                            "model.position.learned.beyond=tile"})
                .arms[0]
                .model.position.keys<LearnedPositionConfig>()
                .beyond,
            BeyondTable::kTile);
  TokenFileWriter other(toy.path("other.bin"), "another tokenizer", kToyVocabulary);
  other.add_document({5, 6, 7});
  other.finish();
  RunConfig config = toy.config(kTwoArms);
  EXPECT_THAT([&] { resolve_vocabulary(config, toy.train_file(), TokenFile(toy.path("other.bin"))); },
              ThrowsUserError("other.bin: tokenizer"));
}

}  // namespace
}  // namespace rse
