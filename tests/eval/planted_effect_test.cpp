// Sends effects of known size and reach through the length protocol and the analysis together.
#include <algorithm>

#include "analysis/analysis.h"
#include "core/random.h"
#include "eval/length_protocol.h"
#include "tests/eval/toy_models.h"
#include "tests/support.h"

namespace rse {
namespace {

constexpr int64_t kVocabulary = 40;
constexpr int64_t kTrained = 32;

// Writes documents in which half of the tokens, drawn at random, repeat the token `distance` before them.
void write_repeating_file(const std::filesystem::path& path, int64_t distance) {
  TokenFileWriter writer(path, "toy tokenizer", kVocabulary);
  for (uint64_t document = 0; document < 12; ++document) {
    std::vector<int> tokens;
    for (int64_t i = 0; i < 512; ++i) {
      const auto bits = random_bits(document, static_cast<uint64_t>(i));
      const bool repeats = i >= distance && uniform01(bits[0]) < 0.5;
      tokens.push_back(repeats ? tokens[static_cast<size_t>(i - distance)]
                               : static_cast<int>(kFirstOrdinaryId +
                                                  uniform_below(bits[1], kVocabulary - kFirstOrdinaryId)));
    }
    writer.add_document(tokens);
  }
  writer.finish();
}

Analysis analysis_of(const TokenFile& file, const Evaluator& model) {
  ProtocolConfig config;
  config.lengths = {kTrained, 2 * kTrained, 4 * kTrained, 8 * kTrained};
  config.control_window = kTrained / 2;
  config.seed = 1;
  const LengthProtocol protocol(file, config);
  return analyze(protocol.places(), {{"toy", 1, protocol.measure(model, {})}}, kTrained,
                 file.unigram_entropy(), {.resamples = 2000});
}

class PlantedEffect : public testing::TestWithParam<int64_t> {};

TEST_P(PlantedEffect, IsFoundAtLongerLengthsAndVanishesUnderTheControl) {
  const int64_t distance = GetParam();  // beyond half the trained length, at most twice of it
  TemporaryFolder folder;
  write_repeating_file(folder / "a.bin", distance);
  const Analysis analysis = analysis_of(TokenFile(folder / "a.bin"), far_model(kVocabulary, distance));
  const ArmResult& toy = analysis.replicas.at(0);
  const LengthResult* control_at_trained = toy.at(kTrained, true);
  ASSERT_NE(control_at_trained, nullptr);
  for (const int64_t length : {2 * kTrained, 4 * kTrained, 8 * kTrained}) {
    const LengthResult *full = toy.at(length, false), *control = toy.at(length, true);
    ASSERT_TRUE(full != nullptr && control != nullptr);
    ASSERT_TRUE(full->difference && full->difference->interval && full->over_control->interval);
    if (length > distance) {
      EXPECT_LT(full->difference->interval->high, 0.0) << length;
      EXPECT_LT(full->over_control->interval->high, 0.0) << length;
    } else {
      EXPECT_EQ(full->difference->mean, 0.0);
    }
    EXPECT_EQ(control->nll.mean, control_at_trained->nll.mean) << length;
  }
}

INSTANTIATE_TEST_SUITE_P(Distances, PlantedEffect, testing::Values(kTrained / 2 + 1, 24, 40, 2 * kTrained));

TEST(PlantedEffect, OfNearContextAloneIsAllInTheControl) {
  TemporaryFolder folder;
  write_repeating_file(folder / "a.bin", 3);
  const Analysis analysis =
      analysis_of(TokenFile(folder / "a.bin"), near_model(kVocabulary, kTrained / 2 - 1));
  for (const int64_t length : {2 * kTrained, 4 * kTrained, 8 * kTrained}) {
    const LengthResult* full = analysis.replicas.at(0).at(length, false);
    EXPECT_LT(full->difference->interval->high, 0.0) << length;  // because fewer targets are near an edge
    EXPECT_EQ(full->over_control->mean, 0.0);
    EXPECT_EQ(full->over_control->interval->low, 0.0);
    EXPECT_EQ(full->over_control->interval->high, 0.0);
  }
}

}  // namespace
}  // namespace rse
