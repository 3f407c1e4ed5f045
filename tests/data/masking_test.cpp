#include "data/masking.h"

#include <cmath>

#include "core/config_tree.h"
#include "core/random.h"
#include "tests/support.h"

namespace rse {
namespace {

const MaskingVocabulary kVocabulary{.size = 105};  // 100 ordinary pieces

struct Counts {
  double targets = 0, masked = 0, replaced = 0, kept = 0;
};

Counts count_draws(const MaskingConfig& config, int64_t tokens,
                   std::vector<int64_t>* replacements = nullptr) {
  Counts counts;
  const DocumentMask mask(config, kVocabulary, 1, 2, 3);
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t token = 5 + i % 100;
    const MaskDraw drawn = mask.draw(static_cast<uint64_t>(i), token);
    if (!drawn.target) {
      EXPECT_EQ(drawn.input_id, token);
      continue;
    }
    ++counts.targets;
    if (drawn.input_id == kMaskId) {
      ++counts.masked;
    } else if (drawn.input_id != token) {
      ++counts.replaced;
      if (replacements != nullptr) replacements->push_back(drawn.input_id);
    } else {
      ++counts.kept;
    }
  }
  return counts;
}

// Expects `count` within five standard deviations of its binomial mean.
void expect_binomial(double count, double tries, double probability) {
  EXPECT_NEAR(count, tries * probability, 5 * std::sqrt(tries * probability * (1 - probability)));
}

TEST(Masking, SharesAreThoseAskedFor) {
  const int64_t tokens = 200000;
  std::vector<int64_t> replacements;
  const Counts counts = count_draws({}, tokens, &replacements);
  expect_binomial(counts.targets, tokens, 0.15);
  expect_binomial(counts.masked, counts.targets, 0.8);
  expect_binomial(counts.replaced, counts.targets, 0.1 * 0.99);  // one in a hundred draws the token itself
  expect_binomial(counts.kept, counts.targets, 0.1 + 0.1 * 0.01);
  std::vector<double> seen(105);
  for (int64_t id : replacements) ++seen[static_cast<size_t>(id)];
  for (size_t id = 0; id < 105; ++id) {
    if (id < 5) {
      EXPECT_EQ(seen[id], 0);
    } else {
      expect_binomial(seen[id], static_cast<double>(replacements.size()), 0.01);
    }
  }
}

TEST(Masking, ExtremeConfigurations) {
  const Counts all = count_draws({.probability = 1, .mask_share = 1, .random_share = 0}, 1000);
  EXPECT_EQ(all.masked, 1000);
  const Counts kept = count_draws({.probability = 1, .mask_share = 0, .random_share = 0}, 1000);
  EXPECT_EQ(kept.kept, 1000);
  const Counts random = count_draws({.probability = 1, .mask_share = 0, .random_share = 1}, 1000);
  EXPECT_EQ(random.masked, 0);
  EXPECT_GT(random.replaced, 900);
}

TEST(Masking, SpecialPiecesAreNeverTargets) {
  for (uint64_t offset = 0; offset < 500; ++offset) {
    for (int64_t special = 0; special < kFirstOrdinaryId; ++special) {
      const MaskDraw drawn = DocumentMask({.probability = 1}, kVocabulary, 1, 2, 3).draw(offset, special);
      EXPECT_FALSE(drawn.target);
      EXPECT_EQ(drawn.input_id, special);
    }
  }
}

// Each part of the key changes the draws. The draws then agree only as often as chance makes them.
TEST(Masking, EveryPartOfTheKeyMatters) {
  const MaskingConfig config{.probability = 0.5};
  auto agreement = [&](uint64_t seed, uint64_t epoch, uint64_t document) {
    double same = 0;
    for (uint64_t offset = 0; offset < 4000; ++offset) {
      same += DocumentMask(config, kVocabulary, 1, 2, 3).draw(offset, 50).target ==
              DocumentMask(config, kVocabulary, seed, epoch, document).draw(offset, 50).target;
    }
    return same;
  };
  EXPECT_EQ(agreement(1, 2, 3), 4000);
  expect_binomial(agreement(9, 2, 3), 4000, 0.5);
  expect_binomial(agreement(1, 3, 3), 4000, 0.5);
  expect_binomial(agreement(1, 2, 4), 4000, 0.5);
  expect_binomial(agreement(1, kEvaluationEpoch, 3), 4000, 0.5);
}

// Epochs and documents are small numbers: no two documents, epochs or seeds share draws, and none has those
// of another one moved by a token.
TEST(Masking, NoTwoDocumentsOfARunShareDraws) {
  const MaskingConfig config{.probability = 0.5};
  constexpr size_t kTokens = 4000;
  std::vector<std::vector<bool>> streams;
  for (uint64_t seed : {1, 2}) {
    for (uint64_t epoch : {uint64_t{0}, uint64_t{1}, uint64_t{2}, kEvaluationEpoch}) {
      for (uint64_t document = 0; document < 4; ++document) {
        const DocumentMask mask(config, kVocabulary, seed, epoch, document);
        std::vector<bool>& targets = streams.emplace_back();
        for (uint64_t offset = 0; offset < kTokens + 1; ++offset)
          targets.push_back(mask.draw(offset, 50).target);
      }
    }
  }
  for (size_t a = 0; a < streams.size(); ++a) {
    for (size_t b = 0; b < streams.size(); ++b) {
      double same = 0, moved = 0;
      for (size_t i = 0; i < kTokens; ++i) {
        same += streams[a][i] == streams[b][i];
        moved += streams[a][i + 1] == streams[b][i];
      }
      if (a == b) same = kTokens / 2.0;
      EXPECT_NEAR(same, kTokens / 2, 6 * std::sqrt(kTokens / 4)) << a << " and " << b;
      EXPECT_NEAR(moved, kTokens / 2, 6 * std::sqrt(kTokens / 4)) << a << " and " << b;
    }
  }
}

// Token `offset` takes draw `offset` of the stream of (seed, epoch, document): its first 32 bits decide
// whether it is a target, the second how it is replaced, the third by what.
TEST(Masking, DrawsAreTheFunctionOfSeedEpochDocumentAndOffset) {
  const MaskingConfig config{.probability = 0.5, .mask_share = 0.4, .random_share = 0.3};
  for (const auto& [seed, epoch, document] : std::vector<std::tuple<uint64_t, uint64_t, uint64_t>>{
           {1, 0, 0}, {1, 2, 3}, {7, kEvaluationEpoch, 9}}) {
    const uint64_t stream = mix_key(mix_key(mix_key(seed, "masking"), epoch), document);
    const DocumentMask mask(config, kVocabulary, seed, epoch, document);
    for (uint64_t offset = 0; offset < 500; ++offset) {
      const int64_t token = 5 + static_cast<int64_t>(offset % 100);
      const auto bits = random_bits(stream, offset);
      const double kind = bits[1] / 4294967296.0;
      int64_t input_id = token;
      if (bits[0] < 0x80000000U && kind < 0.4) input_id = kMaskId;
      if (bits[0] < 0x80000000U && kind >= 0.4 && kind < 0.7) {
        input_id = 5 + static_cast<int64_t>(bits[2] / 4294967296.0 * 100);
      }
      const MaskDraw drawn = mask.draw(offset, token);
      EXPECT_EQ(drawn.target, bits[0] < 0x80000000U);
      EXPECT_EQ(drawn.input_id, input_id);
    }
  }
}

TEST(Masking, SharesAboveOneAreAConfigurationError) {
  MaskingConfig config;
  bind_config(parse_config("mask_share: 0.5\nrandom_share: 0.5\n", "a.yaml"), config);
  EXPECT_EQ(config.random_share, 0.5);
  EXPECT_THAT(([&] { bind_config(parse_config("mask_share: 0.8\nrandom_share: 0.3\n", "a.yaml"), config); }),
              ThrowsUserError("a.yaml:2: random_share: 0.3"));
  EXPECT_THAT(([&] { bind_config(parse_config("probability: 0\n", "a.yaml"), config); }),
              ThrowsUserError("a.yaml:1: probability"));
}

}  // namespace
}  // namespace rse
