#include "eval/validation.h"

#include "eval/device_batch.h"
#include "nn/mlm_loss.h"
#include "tests/data/toy_file.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

class Validation : public testing::Test {
 protected:
  void SetUp() override {
    write_toy_file(folder_ / "a.bin", {70, 33, 0, 130, 20}, 40);
    file_ = std::make_unique<TokenFile>(folder_ / "a.bin");
  }
  static EvaluationSettings settings(int64_t window, int64_t batch_tokens) {
    EvaluationSettings settings;
    settings.seed = 4;
    settings.window = window;
    settings.batch_tokens = batch_tokens;
    return settings;
  }
  TemporaryFolder folder_;
  std::unique_ptr<TokenFile> file_;
};

TEST_F(Validation, DoesNotDependOnBatching) {
  Encoder encoder = small_encoder(small_config("rse"));
  const EvaluationSet set(*file_, 32, 0);
  const ValidationResult all = evaluate(encoder, set, settings(16, 100000));
  EXPECT_GT(all.targets, 15);
  for (const int64_t batch_tokens : {1, 64, 96}) {
    const ValidationResult result = evaluate(encoder, set, settings(16, batch_tokens));
    EXPECT_EQ(result.targets, all.targets);
    EXPECT_NEAR(result.mean_nll, all.mean_nll, 1e-5);
  }
}

TEST_F(Validation, TargetsAreTheSameForEveryWindowAndModel) {
  Encoder rse_encoder = small_encoder(small_config("rse"));
  Encoder rope_encoder = small_encoder(small_config("rope"), 8);
  const EvaluationSet set(*file_, 32, 0);
  const ValidationResult narrow = evaluate(rse_encoder, set, settings(8, 64));
  const ValidationResult wide = evaluate(rope_encoder, set, settings(32, 64));
  EXPECT_EQ(narrow.targets, wide.targets);
  EXPECT_NE(narrow.mean_nll, wide.mean_nll);
  const TargetPlaces first = target_nll(evaluator_of(rse_encoder), set, settings(8, 64)).places;
  const TargetPlaces second = target_nll(evaluator_of(rope_encoder), set, settings(32, 64)).places;
  EXPECT_EQ(first.documents, second.documents);
  EXPECT_EQ(first.offsets, second.offsets);
}

TEST_F(Validation, IsTheMeanOverTargets) {
  Encoder encoder = small_encoder(small_config("rope"));
  const EvaluationSet set(*file_, 16, 0);
  const ValidationResult result = evaluate(encoder, set, settings(16, 48));
  torch::NoGradGuard no_grad;
  const TokenBatch batch = set.batch(MaskingConfig(), 4, 0, set.size(), 16);
  const DeviceBatch on_device = to_device(batch, torch::kCPU);
  EXPECT_EQ(on_device.tokens(), batch.total());
  EXPECT_EQ(on_device.targets(), batch.targets());
  const torch::Tensor nll =
      masked_lm_nll(encoder(on_device.input_ids, on_device.layout, on_device.target_positions, std::nullopt),
                    on_device.target_ids);
  EXPECT_NEAR(result.mean_nll, nll.mean().item<double>(), 1e-5);
  const TargetNll losses = target_nll(evaluator_of(encoder), set, settings(16, 48));
  EXPECT_EQ(losses.places.documents, batch.target_documents);
  ASSERT_EQ(static_cast<int64_t>(losses.nll.size()), nll.numel());
  for (int64_t i = 0; i < nll.numel(); ++i) {
    EXPECT_NEAR(losses.nll[static_cast<size_t>(i)], nll[i].item<double>(), 1e-5);
  }
}

TEST_F(Validation, TouchesNoGradientAndNoGenerator) {
  ModelConfig config = small_config("rse");
  config.dropout = 0.5;  // evaluation must not apply it
  Encoder encoder = small_encoder(config);
  const EvaluationSet set(*file_, 16, 0);
  torch::manual_seed(1);
  const torch::Tensor expected = torch::rand({4});
  torch::manual_seed(1);
  const ValidationResult first = evaluate(encoder, set, settings(16, 64));
  EXPECT_TRUE(torch::equal(torch::rand({4}), expected));
  EXPECT_EQ(evaluate(encoder, set, settings(16, 64)).mean_nll, first.mean_nll);
  for (const torch::Tensor& parameter : encoder->parameters()) EXPECT_FALSE(parameter.grad().defined());
}

TEST_F(Validation, Bfloat16IsClose) {
  Encoder encoder = small_encoder(small_config("rope"));
  const EvaluationSet set(*file_, 16, 0);
  EvaluationSettings half = settings(16, 64);
  half.bf16 = true;
  EXPECT_NEAR(evaluate(encoder, set, half).mean_nll, evaluate(encoder, set, settings(16, 64)).mean_nll, 0.03);
}

TEST_F(Validation, NoTargetIsAUserError) {
  Encoder encoder = small_encoder(small_config("rope"));
  const EvaluationSet set(*file_, 16, 0);
  EvaluationSettings none = settings(16, 64);
  none.masking.probability = 0.0;
  EXPECT_THAT([&] { evaluate(encoder, set, none); }, ThrowsUserError("no target"));
}

TEST_F(Validation, SetFollowsTheConfiguration) {
  ValidationConfig config;
  config.pieces = 0;
  EXPECT_EQ(make_validation_set(*file_, config, 10).size(), 7 + 3 + 13 + 2);
  EXPECT_EQ(config.window(10), 10);
  config.length = 16;
  EXPECT_EQ(make_validation_set(*file_, config, 10).piece_tokens(), 16);
  config.piece_tokens = 64;
  config.pieces = 2;
  EXPECT_EQ(make_validation_set(*file_, config, 10).size(), 2);
  config.length = 0;
  EXPECT_THAT(
      [&] { make_validation_set(*file_, config, 10); },
      ThrowsUserError("validation.piece_tokens: '64': expected a multiple of the window (10 tokens)"));
}

TEST(ValidationConfig, ReadsDumpsAndChecks) {
  const auto read = [](const std::string& text) {
    ValidationConfig config;
    bind_config(parse_config(text, "v.yaml"), config);
    return config;
  };
  const std::string text = "every: 5\nlength: 16\npiece_tokens: 64\npieces: 3\nseed: 9\nbatch_tokens: 128";
  const ValidationConfig expected{5, 16, 64, 3, 9, 128};
  EXPECT_EQ(read(text), expected);
  EXPECT_EQ(read(dump_config(dump_bound(expected))), expected);
  EXPECT_THAT([&] { read("length: 16\npiece_tokens: 40"); },
              ThrowsUserError("v.yaml:2: piece_tokens: '40': expected a multiple of length (16)"));
  EXPECT_THAT([&] { read("every: -1"); }, ThrowsUserError("v.yaml:1: every: '-1'"));
  EXPECT_THAT([&] { read("piece: 1"); }, ThrowsUserError("did you mean 'pieces'"));
}

TEST(GpuValidation, AgreesWithTheCpu) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
  TemporaryFolder folder;
  write_toy_file(folder / "a.bin", {70, 130}, 40);
  const TokenFile file(folder / "a.bin");
  const EvaluationSet set(file, 32, 0);
  Encoder encoder = small_encoder(small_config("rope"));
  EvaluationSettings settings;
  settings.window = 16;
  const ValidationResult expected = evaluate(encoder, set, settings);
  encoder->to(torch::kCUDA);
  settings.device = torch::kCUDA;
  const ValidationResult result = evaluate(encoder, set, settings);
  EXPECT_EQ(result.targets, expected.targets);
  EXPECT_NEAR(result.mean_nll, expected.mean_nll, 1e-3);
}

}  // namespace
}  // namespace rse
