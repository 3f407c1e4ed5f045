// Compares every backend with the oracle, within the bounds of src/ops/README.md section 4.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <iostream>

#include "tests/ops/attention_cases.h"
#include "tests/ops/targets.h"

namespace rse {
namespace {

using AttentionOracleTest = TargetTest;

TEST_P(AttentionOracleTest, EveryMode) {
  for (const AttentionOptions& options : all_modes(/*window=*/6)) {
    Case batched = make_case();
    batched.batch = 2;
    batched.borders = {0, 19};
    batched.options = options;
    Case packed = make_case();
    packed.packed = true;
    packed.borders = {0, 7, 7, 8, 21, 23};
    packed.options = options;
    for (const auto dtype : dtypes({torch::kFloat32, torch::kFloat64})) {
      batched.dtype = packed.dtype = dtype;
      expect_matches_oracle(batched, GetParam());
      expect_matches_oracle(packed, GetParam());
    }
  }
}

TEST_P(AttentionOracleTest, EveryDtype) {
  for (const auto dtype : GetParam().dtypes) {
    RelativeErrors worst;
    for (const bool causal : {false, true}) {
      for (const Mass mass : {Mass::kPerSide, Mass::kShared}) {
        Case c = make_case();
        c.borders = {0, 150};
        c.head_dim = 64;
        c.dtype = dtype;
        c.options.causal = causal;
        c.options.mass = mass;
        c.options.remainder = Remainder::kSelf;
        c.seed = 11;
        worst.keep_worst(expect_matches_oracle(c, GetParam()));
      }
    }
    std::cout << fmt::format("{}: out {:.1e} rem {:.1e} dq {:.1e} dk {:.1e} dv {:.1e} dlambda {:.1e}\n",
                             torch::toString(dtype), worst.out, worst.rem, worst.query, worst.key,
                             worst.value, worst.decay);
  }
}

TEST_P(AttentionOracleTest, EveryHeadDim) {
  for (int64_t head_dim = 8; head_dim <= 128; head_dim += 8) {
    Case c = make_case();
    c.borders = {0, 35};
    c.head_dim = head_dim;
    for (const auto dtype : dtypes({torch::kFloat32, torch::kBFloat16})) {
      c.dtype = dtype;
      expect_matches_oracle(c, GetParam());
    }
  }
}

TEST_P(AttentionOracleTest, RaggedLengths) {
  for (const int64_t length : {1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 130}) {
    for (const bool causal : {false, true}) {
      Case c = make_case();
      c.borders = {0, length};
      c.options.causal = causal;
      c.options.mass = Mass::kShared;
      c.seed = static_cast<uint64_t>(length);
      expect_matches_oracle(c, GetParam());
    }
  }
}

TEST_P(AttentionOracleTest, LongerThanAnyBlock) {
  Case c = make_case();
  c.borders = {0, 259};
  for (const int64_t window : {0, 100}) {
    c.options.window = window;
    for (const auto dtype : dtypes({torch::kFloat32, torch::kBFloat16})) {
      c.dtype = dtype;
      expect_matches_oracle(c, GetParam());
    }
  }
}

// Uses the head_dims that kernels are tuned for, with several row blocks per document: both sides of a block
// have more tiles than a kernel keeps in flight at once.
TEST_P(AttentionOracleTest, WideHeadsOverSeveralBlocks) {
  for (const int64_t head_dim : {64, 128}) {
    for (const bool causal : {false, true}) {
      Case c = make_case();
      c.head_dim = head_dim;
      c.packed = true;
      c.borders = {0, 330, 331, 460};
      c.options.causal = causal;
      c.options.deterministic = causal;
      expect_matches_oracle(c, GetParam());
    }
  }
}

TEST_P(AttentionOracleTest, WindowsAroundBlockSizes) {
  for (const int64_t window : {1, 2, 3, 15, 16, 17, 32, 63, 64, 65, 97, 98, 200}) {
    for (const bool causal : {false, true}) {
      Case c = make_case();
      c.borders = {0, 97};
      c.options.window = window;
      c.options.causal = causal;
      expect_matches_oracle(c, GetParam());
    }
  }
}

TEST_P(AttentionOracleTest, ManySequences) {
  Case c = make_case();
  c.batch = 5;
  c.heads = 8;
  c.borders = {0, 130};
  expect_matches_oracle(c, GetParam());
}

TEST_P(AttentionOracleTest, PackedDocuments) {
  const std::vector<std::vector<int64_t>> layouts{
      {0, 40},                     // one document
      {0, 16, 32, 48},             // equal lengths
      {0, 0, 1, 1, 2, 40, 40},     // empty documents at both ends, single tokens
      {0, 5, 12, 17, 24, 29, 30},  // equal lengths that are not neighbours
      {0, 70, 71, 140, 141, 206},  // longer than a block, and not aligned to it
  };
  for (const auto& borders : layouts) {
    for (const bool causal : {false, true}) {
      Case c = make_case();
      c.packed = true;
      c.borders = borders;
      c.options.causal = causal;
      c.options.remainder = Remainder::kSelf;
      for (const auto dtype : dtypes({torch::kFloat32, torch::kBFloat16})) {
        c.dtype = dtype;
        expect_matches_oracle(c, GetParam());
      }
    }
  }
}

TEST_P(AttentionOracleTest, StridedInputs) {
  for (const InputLayout layout :
       {InputLayout::kFusedQkv, InputLayout::kHeadsFirst, InputLayout::kGapsInHeads}) {
    for (const auto dtype : dtypes({torch::kFloat32, torch::kBFloat16})) {
      Case c = make_case();
      c.batch = 2;
      c.borders = {0, 37};
      c.head_dim = 24;
      c.layout = layout;
      c.dtype = dtype;
      expect_matches_oracle(c, GetParam());
      if (layout == InputLayout::kHeadsFirst) continue;
      c.batch = 1;
      c.packed = true;
      c.borders = {0, 11, 37};
      expect_matches_oracle(c, GetParam());
    }
  }
}

TEST_P(AttentionOracleTest, ScaleAndRotaryBase) {
  for (const double scale : {0.0, -0.3, 1.0}) {
    for (const double base : {2.0, 500.0, 1e6}) {
      Case c = make_case();
      c.borders = {0, 33};
      c.options.scale = scale;
      c.options.rotary_base = base;
      expect_matches_oracle(c, GetParam());
    }
  }
}

TEST_P(AttentionOracleTest, StrongDecayAndLargeLogits) {
  // 16-bit kernels round the rotated query and key, so that the error of a logit grows with the logit.
  for (const double query_scale : low_precision() ? std::vector{1.0} : std::vector{1.0, 6.0}) {
    for (const double decay : {0.0, 2.0, 10.0}) {
      Case c = make_case();
      c.borders = {0, 90};
      c.decay_from = c.decay_to = decay;
      c.query_scale = query_scale;
      c.options.skip_below = 0;
      expect_matches_oracle(c, GetParam());
    }
  }
}

// Only the query's own key has weight, and the gradient of decay is far below what float32 resolves.
TEST_P(AttentionOracleTest, DecayThatLeavesOnlyTheOwnKey) {
  Case c = make_case();
  c.borders = {0, 90};
  c.decay_from = c.decay_to = 100;
  const RelativeErrors errors = compare_with_oracle(c, GetParam()), bounds = bounds_of(c.dtype);
  EXPECT_LE(errors.out, bounds.out);
  EXPECT_LE(errors.rem, bounds.rem);
  EXPECT_LE(errors.query, bounds.query);
  EXPECT_LE(errors.key, bounds.key);
  EXPECT_LE(errors.value, bounds.value);
}

INSTANTIATE_TEST_SUITE_P(Cpu, AttentionOracleTest, testing::ValuesIn(cpu_targets()), target_name);
INSTANTIATE_TEST_SUITE_P(Gpu, AttentionOracleTest, testing::ValuesIn(gpu_targets()), target_name);

}  // namespace
}  // namespace rse
