#include "core/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "core/check.h"
#include "core/hash.h"

namespace rse {
namespace {

// Known answers of the Random123 distribution for philox4x32 with 10 rounds.
TEST(Philox, MatchesPublishedVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Permutation, IsABijectionThatDependsOnTheKey) {
  for (uint64_t size : {1, 2, 3, 7, 64, 1000, 4097}) {
    const Permutation first(17, size), second(18, size);
    std::set<uint64_t> seen;
    uint64_t differences = 0;
    for (uint64_t i = 0; i < size; ++i) {
      seen.insert(first(i));
      differences += first(i) != second(i);
    }
    EXPECT_EQ(seen.size(), size);
    EXPECT_EQ(*seen.rbegin(), size - 1);
    if (size > 100) {
      EXPECT_GT(differences, size / 2);
    }
  }
}

TEST(Permutation, RefusesAnIndexBeyondItsSize) {
  const Permutation permutation(1, 10);
  EXPECT_THROW(permutation(10), std::logic_error);
}

TEST(Random, UniformBelowCoversItsRangeEvenly) {
  std::vector<int> counts(7);
  for (uint64_t i = 0; i < 70000; ++i) ++counts[uniform_below(random_bits(5, i)[0], 7)];
  for (int count : counts) EXPECT_NEAR(count, 10000, 400);
}

TEST(Random, MixedKeysDependOnOrder) {
  EXPECT_NE(mix_key(1, 2), mix_key(2, 1));
  EXPECT_NE(mix_key(1, "weight"), mix_key(1, "bias"));
}

// The first numbers of the published SplitMix64 generator from the states 0 and 1234567. mix_key(a, b) is its
// step from the state step(a) ^ b.
TEST(Random, KeysAreMixedBySplitMix64) {
  constexpr uint64_t kStepOf0 = 0xE220A8397B1DCDAF, kStepOf1234567 = 6457827717110365317;
  EXPECT_EQ(mix_key(0, kStepOf0), kStepOf0);
  EXPECT_EQ(mix_key(0, kStepOf0 ^ 1234567), kStepOf1234567);
  EXPECT_EQ(mix_key(1234567, kStepOf1234567), kStepOf0);
  EXPECT_EQ(mix_key(0, kStepOf0, kStepOf1234567), mix_key(kStepOf0, kStepOf1234567));
  EXPECT_EQ(mix_key(0, "abc"), mix_key(0, 0x44BC2CF5AD770999));  // xxh64 of the name
}

// Seeds, steps, documents and layers are small numbers, whose sums and products coincide in many pairs.
TEST(Random, KeysOfSmallNumbersAreAllDifferent) {
  std::set<uint64_t> keys;
  size_t count = 0;
  for (uint64_t a = 0; a < 40; ++a) {
    keys.insert({mix_key(a, "order"), mix_key(a, "masking"), mix_key(a, "dropout"), mix_key(a, "parameter")});
    count += 4;
    for (uint64_t b = 0; b < 40; ++b) {
      keys.insert(mix_key(a, b));
      ++count;
      for (uint64_t c = 0; c < 40; ++c, ++count) keys.insert(mix_key(a, b, c));
    }
  }
  EXPECT_EQ(keys.size(), count);
}

TEST(Random, DrawsOfNeighbouringStreamsAreAllDifferent) {
  std::set<std::array<uint32_t, 4>> draws;
  size_t count = 0;
  for (const uint64_t high : {uint64_t{0}, uint64_t{1} << 32}) {
    for (uint64_t key = 0; key < 60; ++key) {
      for (uint64_t index = 0; index < 60; ++index, count += 2) {
        draws.insert({random_bits(key, index | high), random_bits(key | uint64_t{1} << 63, index | high)});
      }
    }
  }
  EXPECT_EQ(draws.size(), count);
}

// Known answers of the xxHash reference implementation.
TEST(Xxh64, MatchesPublishedVectors) {
  EXPECT_EQ(xxh64("", 0), 0xEF46DB3751D8E999ULL);
  EXPECT_EQ(xxh64("a", 1), 0xD24EC4F1A98C6E5BULL);
  EXPECT_EQ(xxh64("abc", 3), 0x44BC2CF5AD770999ULL);
}

TEST(Xxh64, PiecesHashLikeTheWhole) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>('a' + i * 7 % 26);
  for (size_t cut : {0, 1, 31, 32, 33, 500, 999}) {
    Xxh64 state(3);
    state.update(text.data(), cut);
    state.update(text.data() + cut, text.size() - cut);
    EXPECT_EQ(state.digest(), xxh64(text.data(), text.size(), 3)) << cut;
  }
}

}  // namespace
}  // namespace rse
