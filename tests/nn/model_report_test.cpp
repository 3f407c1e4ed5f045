#include "nn/model_report.h"

#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

std::map<std::string, int64_t> groups_of(const ModelReport& report) {
  std::map<std::string, int64_t> groups;
  for (const ParameterGroup& group : report.groups) groups[group.name] = group.parameters;
  return groups;
}

TEST(ModelReport, CountsByHand) {
  // The vocabulary has 40 pieces, the width is 32, and there are 2 layers with 2 heads and ffn_width 48.
  const std::map<std::string, int64_t> shared = {
      {"embedding", 40 * 32},
      {"attention", 2 * 4 * 32 * 32},
      {"ffn", 2 * 2 * 32 * 48},
      {"head", 32 * 32},
      {"norms and biases", 2 * (4 * 32 + 4 * 32 + 48 + 32) + 2 * 32 + (32 + 2 * 32 + 40)}};
  for (const std::string& method : kAllMethods) {
    auto expected = shared;
    if (method == "learned") expected["position"] = 24 * 32;
    if (method == "rse" || method == "rope_decay") expected["decay"] = 2 * 2;
    ModelConfig config = small_config(method);
    config.head = HeadKind::kTransform;
    const Encoder encoder = small_encoder(config);
    const ModelReport report = report_model(*encoder, {10, 0.2});
    EXPECT_EQ(groups_of(report), expected) << method;
    int64_t total = 0;
    for (const auto& [name, count] : expected) total += count;
    EXPECT_EQ(report.parameters, total);
    EXPECT_EQ(report.position_parameters,
              total - (1280 + 8192 + 6144 + 1024 + shared.at("norms and biases")));
    EXPECT_EQ(report.state_bytes, 16 * total);
    // FLOPs of a layer: 8 width^2 + 4 width ffn_width + 4 seq_len width; of the head: 2 width^2 + 2 width
    // vocabulary.
    const double forward =
        2 * (8.0 * 1024 + 4.0 * 32 * 48 + 4.0 * 10 * 32) + 0.2 * (2.0 * 1024 + 2.0 * 32 * 40);
    EXPECT_NEAR(report.flop_per_token, 3 * forward, 1e-6);
    EXPECT_EQ(report.position_parameters, config.position.active().parameters(config));
    EXPECT_EQ(config.position.active().has_decay(), expected.contains("decay"));
    const bool rotates = method == "rope" || method == "rope_decay" || method == "rse";
    EXPECT_EQ(report.table_bytes, rotates ? 2 * 10 * 8 * 4 : 0);  // cos and sin of 10 positions and 8 pairs
    EXPECT_THAT(report.flop_formula, testing::HasSubstr("2 layers"));
    config.head = HeadKind::kTied;
    const ModelReport tied = report_model(*small_encoder(config), {10, 0.2});
    EXPECT_EQ(tied.parameters, total - 32 * 32 - 3 * 32);
    EXPECT_NEAR(tied.flop_per_token, 3 * (forward - 0.2 * 2.0 * 1024), 1e-6);
  }
}

}  // namespace
}  // namespace rse
