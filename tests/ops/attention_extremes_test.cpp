// Compares every backend with the oracle where numbers of very different size meet: a key that takes all of a
// stick and outweighs the other side a million times; weights, gradients and keys that float16 holds only
// with a power of two; results beyond float16; and d lambda where its terms cancel.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/ops/attention_cases.h"
#include "tests/ops/targets.h"

namespace rse {
namespace {

using torch::Tensor;
using torch::indexing::Slice;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kHeadDim = 64;
// With it the factor scale * log2(e) of the logits is 1/8, so that no dtype rounds the scaled query and a test
// can choose large logits.
const double kExactScale = std::log(2.0) / 8;

struct Results {
  Tensor out, rem, query, key, value, decay;
};

Tensor to_double(const Tensor& x) { return x.detach().to(torch::kCPU, torch::kFloat64); }

class AttentionExtremesTest : public TargetTest {
 protected:
  // Returns a case of one document with head_dim 64, no rotation, and kExactScale.
  Case make(torch::ScalarType dtype, int64_t length) const {
    Case c = make_case();
    c.dtype = dtype;
    c.borders = {0, length};
    c.head_dim = kHeadDim;
    c.options.rotary_base = 0;
    c.options.scale = kExactScale;
    return c;
  }

  Results compute(const CaseTensors& t, const AttentionOptions& options) const {
    poison_free_memory(GetParam().device);
    const AttentionResult result = attend(t, options);
    poison_free_memory(GetParam().device);
    const auto grad = torch::autograd::grad({result.out, result.rem}, {t.query, t.key, t.value, t.decay},
                                            {t.grad_out, t.grad_rem});
    return {to_double(result.out), to_double(result.rem), to_double(grad[0]),
            to_double(grad[1]),    to_double(grad[2]),    to_double(grad[3])};
  }

  static Results expected(const Case& c, const CaseTensors& t) {
    const OracleInputs inputs{to_double(t.query), to_double(t.key), to_double(t.value),
                              to_double(t.decay), c.borders,        c.options};
    const OracleOutputs out = oracle_forward(inputs);
    const OracleGradients grad = oracle_backward(inputs, to_double(t.grad_out), to_double(t.grad_rem));
    return {out.out, out.rem, grad.query, grad.key, grad.value, grad.decay};
  }

  // Compares with the true result as the dtype holds it: where that is infinite, so must be the result; the
  // others are compared by the norm of their difference, beside which a denormal number may be one step off.
  // Results that are no farther from the largest number of the dtype than an error may be either.
  static void expect_near(const char* name, const Tensor& x, const Tensor& reference, torch::ScalarType dtype,
                          double bound) {
    const double largest = dtype == torch::kFloat16 ? 65504 : 1e300;
    const double typical =
        reference.norm().item<double>() / std::sqrt(static_cast<double>(reference.numel()));
    const double margin = 0.01 * largest + 10 * bound * typical;
    const Tensor beyond = reference.abs() > largest + margin, within = reference.abs() < largest - margin;
    EXPECT_TRUE(torch::equal(x.masked_select(beyond), reference.masked_select(beyond).sign() * kInfinity))
        << name << ": a result beyond float16 is not infinite";
    const Tensor finite = x.masked_select(within), wanted = reference.masked_select(within);
    ASSERT_TRUE(torch::isfinite(finite).all().item<bool>()) << name;
    const double steps =
        dtype == torch::kFloat16 ? 0x1p-24 * std::sqrt(static_cast<double>(wanted.numel())) : 0;
    const double difference = (finite - wanted).norm().item<double>(), size = reference.norm().item<double>();
    EXPECT_LE(difference, bound * size + steps) << name << ": relative error " << difference / size;
  }

  void expect_matches(const Case& c, const CaseTensors& t, bool with_decay = true) const {
    SCOPED_TRACE(describe(c));
    const Results x = compute(t, c.options), reference = expected(c, t);
    const RelativeErrors bounds = bounds_of(c.dtype);
    expect_near("out", x.out, reference.out, c.dtype, bounds.out);
    expect_near("rem", x.rem, reference.rem, torch::kFloat32, bounds.rem);
    expect_near("query", x.query, reference.query, c.dtype, bounds.query);
    expect_near("key", x.key, reference.key, c.dtype, bounds.key);
    expect_near("value", x.value, reference.value, c.dtype, bounds.value);
    if (with_decay) expect_near("decay", x.decay, reference.decay, torch::kFloat32, bounds.decay);
  }
};

// Every third key is loud: its value is `loud`, the others' are `quiet`. Every query right after a loud key
// gives it all but 2^-taken of its left stick; all other queries give loud keys nothing.
struct Swamp {
  double loud, quiet, taken;
};

CaseTensors make_swamp(const Case& c, const Swamp& swamp, const torch::Device& device) {
  CaseTensors t = make_tensors(c, device);
  const torch::NoGradGuard no_grad;
  const int64_t length = c.borders.back();
  Tensor key = t.key.clone(), query = t.query.clone(), value = t.value * swamp.quiet;
  for (Tensor& x : {std::ref(key), std::ref(query)}) x.index_put_({Slice(), Slice(), Slice(), 0}, 0.0);
  key.index_put_({Slice(), Slice(0, length, 3), Slice(), 0}, 1.0);
  query.index_put_({Slice(), Slice(), Slice(), 0}, -30.0 * 8);
  query.index_put_({Slice(), Slice(1, length, 3), Slice(), 0}, swamp.taken * 8);
  value.index_put_({Slice(), Slice(0, length, 3)},
                   t.value.index({Slice(), Slice(0, length, 3)}) * swamp.loud);
  t.key = key.requires_grad_();
  t.query = query.requires_grad_();
  t.value = value.requires_grad_();
  t.grad_rem = t.grad_rem * swamp.quiet;
  return t;
}

// With a window of 2 a query has one key per side, so that what the right side is worth shows beside a left
// side that is used up.
TEST_P(AttentionExtremesTest, OneSideSwampsTheOther) {
  for (const auto dtype : GetParam().dtypes) {
    for (const Swamp& swamp : {Swamp{1e3, 1, 40}, Swamp{1e3, 1, 100}, Swamp{1e4, 1e-2, 60}}) {
      SCOPED_TRACE(fmt::format("values {} and {}, 2^-{} is left", swamp.loud, swamp.quiet, swamp.taken));
      for (const Mass mass : {Mass::kPerSide, Mass::kShared}) {
        Case c = make(dtype, 140);
        c.options.window = 2;
        c.options.mass = mass;
        c.query_scale = 1;
        c.decay_to = 0.02;
        expect_matches(c, make_swamp(c, swamp, GetParam().device), /*with_decay=*/false);
      }
    }
  }
}

// One side over several tiles. In float32 sticks that are not quite used up (2^-8, 2^-14) leave gradients that
// are far below the loud terms but not below the bounds; the 16-bit kernels promise less there (section 4 of
// src/ops/README.md).
TEST_P(AttentionExtremesTest, NearKeySwampsFartherOnes) {
  for (const auto dtype : GetParam().dtypes) {
    const bool low = dtype == torch::kBFloat16 || dtype == torch::kFloat16;
    for (const double taken : low ? std::vector{50.0} : std::vector{8.0, 14.0, 20.0, 50.0}) {
      for (const bool causal : {false, true}) {
        Case c = make(dtype, 140);
        c.options.causal = causal;
        c.options.skip_below = 0;
        c.query_scale = 1;
        c.decay_to = 0.02;
        SCOPED_TRACE(fmt::format("2^-{} is left", taken));
        expect_matches(c, make_swamp(c, {1e3, 1, taken}, GetParam().device), /*with_decay=*/false);
      }
    }
  }
}

// Weights of 2^-20 over values of 1e3, which as float16 would have 3 bits left; of 2^-26, which would be 0.
TEST_P(AttentionExtremesTest, WeightsBelowFloat16) {
  for (const auto dtype : GetParam().dtypes) {
    for (const double logit : {-20.0, -26.0}) {
      Case c = make(dtype, 150);
      c.options.self_key = false;
      c.options.skip_below = 0;
      c.query_scale = 0.5;
      c.decay_to = 0;
      CaseTensors t = make_tensors(c, GetParam().device);
      const torch::NoGradGuard no_grad;
      Tensor key = t.key.clone(), query = t.query.clone();
      key.index_put_({Slice(), Slice(), Slice(), 0}, 1.0);
      query.index_put_({Slice(), Slice(), Slice(), 0}, 8 * logit);
      t.key = key.requires_grad_();
      t.query = query.requires_grad_();
      t.value = (t.value * 1e3).requires_grad_();
      t.grad_out = t.grad_out * 30;
      t.grad_rem.zero_();
      const torch::AutoGradMode grad(true);
      expect_matches(c, t);
    }
  }
}

// Gradients of logits of 1e5 and of 1e-9, between query and key that bring those of queries and keys back into
// the range of float16.
TEST_P(AttentionExtremesTest, LogitGradientsBeyondFloat16) {
  struct Sizes {
    double value, grad_out, query, key;
  };
  for (const auto dtype : GetParam().dtypes) {
    for (const Sizes& size : {Sizes{300, 100, 0.03, 0.03}, Sizes{300, 100, 1e-3, 1},
                              Sizes{1e-4, 1e-5, 1e-4, 5e3}, Sizes{1e-3, 1e-3, 5e3, 1e-4}}) {
      for (const Mass mass : {Mass::kPerSide, Mass::kShared}) {
        Case c = make(dtype, 150);
        c.options.mass = mass;
        c.query_scale = size.query;
        CaseTensors t = make_tensors(c, GetParam().device);
        t.key = (t.key.detach() * size.key).requires_grad_();
        t.value = (t.value.detach() * size.value).requires_grad_();
        t.grad_out = t.grad_out * size.grad_out;
        t.grad_rem = t.grad_rem * size.value * size.grad_out;
        SCOPED_TRACE(fmt::format("value {} grad_out {}", size.value, size.grad_out));
        expect_matches(c, t);
      }
    }
  }
}

// Rotation takes keys of 6e4 out of the range of float16; a scale of 40 takes queries of 2,000 out of it; with
// a scale of 4 the keys need another power of two than the scale alone would give.
TEST_P(AttentionExtremesTest, PreparedQueriesAndKeysBeyondFloat16) {
  struct Sizes {
    double scale, query, key;  // of the pair of columns that turns fastest; the others make logits of size 1
  };
  for (const auto dtype : GetParam().dtypes) {
    for (const Sizes& size : {Sizes{0.125, 1e-4, 6e4}, Sizes{40, 2000, 1e-5}, Sizes{4, 4e-6, 5e4}}) {
      Case c = make(dtype, 150);
      c.options.rotary_base = 10000;
      c.options.scale = size.scale;
      c.query_scale = 0.1 / size.scale;
      CaseTensors t = make_tensors(c, GetParam().device);
      const torch::NoGradGuard no_grad;
      Tensor key = t.key.clone(), query = t.query.clone();
      for (const int64_t column : {int64_t{0}, kHeadDim / 2}) {
        Tensor of_key = key.select(3, column), of_query = query.select(3, column);
        of_key.copy_(size.key > 1e4 ? of_key.sign() * size.key : of_key * size.key);
        of_query.copy_(size.query > 1 ? of_query.sign() * size.query
                                      : t.grad_out.select(3, column) * size.query);
      }
      t.key = key.requires_grad_();
      t.query = query.requires_grad_();
      t.grad_out = t.grad_out * 1e-2;
      t.grad_rem = t.grad_rem * 1e-2;
      SCOPED_TRACE(fmt::format("scale {} query {} key {}", size.scale, size.query, size.key));
      const torch::AutoGradMode grad(true);
      expect_matches(c, t);
    }
  }
}

// Where the true result is beyond float16 it is infinite, as LibTorch has it, so that a gradient scaler sees it.
TEST_P(AttentionExtremesTest, ResultsBeyondFloat16AreInfinite) {
  for (const auto dtype : dtypes({torch::kFloat16})) {
    if (dtype != torch::kFloat16) continue;
    for (const double size : {3.0, 100.0, 400.0}) {
      Case c = make(dtype, 150);
      c.query_scale = 2;
      CaseTensors t = make_tensors(c, GetParam().device);
      t.value = (t.value.detach() * size).requires_grad_();
      t.grad_out = t.grad_out * 30 * size;
      SCOPED_TRACE(size);
      expect_matches(c, t);
      const Results x = compute(t, c.options);
      EXPECT_EQ(torch::isinf(x.query).any().item<bool>(), size > 3);
      EXPECT_EQ(torch::isinf(x.key).any().item<bool>(), size > 3);
    }
  }
}

// The share of every row in d lambda, [heads, length], without options (section 3 of src/ops/README.md).
Tensor decay_shares(const Case& c, const CaseTensors& t) {
  const int64_t length = c.borders.back();
  const Tensor shares = torch::zeros({c.heads, length}, torch::kFloat64);
  auto result = shares.accessor<double, 2>();
  const Tensor grad_rem = to_double(t.grad_rem);
  for (int64_t head = 0; head < c.heads; ++head) {
    const auto of_head = [&](const Tensor& x) { return to_double(x)[0].select(1, head); };
    const Tensor logits = torch::mm(of_head(t.query), of_head(t.key).t()) / std::sqrt(c.head_dim);
    const Tensor weight_grads = torch::mm(of_head(t.grad_out), of_head(t.value).t());
    const double decay = t.decay[head].item<double>();
    const auto logit = logits.accessor<double, 2>(), weight_grad = weight_grads.accessor<double, 2>();
    for (int64_t row = 0; row < length; ++row) {
      for (const int side : {0, 1}) {
        std::vector<double> beta, weighted;  // nearest key first
        double stick = 1;
        for (int64_t key = side == 0 ? row - 1 : row + 1; key >= 0 && key < length;
             key += side == 0 ? -1 : 1) {
          const double distance = static_cast<double>(beta.size() + 1);
          beta.push_back(1 / (1 + std::exp(decay * distance - logit[row][key])));
          weighted.push_back(beta.back() * stick * weight_grad[row][key]);
          stick *= 1 - beta.back();
        }
        double farther = stick * grad_rem.accessor<double, 4>()[0][head][row][side];
        for (size_t n = beta.size(); n-- > 0;) {
          farther += weighted[n];
          result[head][row] -= (weighted[n] - beta[n] * farther) * static_cast<double>(n + 1);
        }
      }
    }
  }
  return shares;
}

// d lambda is a sum over rows whose shares have both signs. In 16 bits its error follows the root of the sum of
// their squares, however much the sum itself loses; section 4 of src/ops/README.md bounds it by that.
TEST_P(AttentionExtremesTest, DecayGradientOfCancellingRows) {
  for (const auto dtype : GetParam().dtypes) {
    for (uint64_t seed = 1; seed <= 6; ++seed) {
      Case c = make_case();
      c.dtype = dtype;
      c.heads = 2;
      c.borders = {0, 300};
      c.head_dim = kHeadDim;
      c.options.rotary_base = 0;
      c.decay_from = c.decay_to = 0.02;
      c.options.skip_below = 0;
      c.query_scale = 1;
      c.seed = seed;
      const CaseTensors t = make_tensors(c, GetParam().device);
      const Tensor decay = compute(t, c.options).decay;
      const Tensor shares = decay_shares(c, t), reference = shares.sum(1);
      EXPECT_LE((decay - reference).norm().item<double>(),
                bounds_of(dtype).decay * shares.norm().item<double>())
          << torch::toString(dtype) << " seed " << seed << ": " << relative_error(decay, reference);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, AttentionExtremesTest, testing::ValuesIn(cpu_targets()), target_name);
INSTANTIATE_TEST_SUITE_P(Gpu, AttentionExtremesTest, testing::ValuesIn(gpu_targets()), target_name);

}  // namespace
}  // namespace rse
