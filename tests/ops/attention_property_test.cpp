// Tests what must hold whatever the inputs are: causality, borders of documents, sums of weights, finite
// results, and independence of the order of computation.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/ops/attention_cases.h"
#include "tests/ops/targets.h"
#include "tests/support.h"

namespace rse {
namespace {

using torch::Tensor;
using torch::indexing::Slice;

constexpr double kFloatRounding = 2e-6;  // for float32 results of size one, sums of a few hundred terms

double max_difference(const Tensor& a, const Tensor& b) {
  return (a.to(torch::kFloat64) - b).abs().max().item<double>();
}

bool all_finite(const Tensor& x) { return torch::isfinite(x).all().item<bool>(); }

std::vector<Tensor> gradients(const AttentionResult& result, const CaseTensors& t) {
  return torch::autograd::grad({result.out, result.rem}, {t.query, t.key, t.value, t.decay},
                               {t.grad_out, t.grad_rem});
}

class AttentionPropertyTest : public TargetTest {
 protected:
  // Returns the error allowed in results of size one to four that are sums of a few hundred terms.
  double rounding() const {
    switch (GetParam().dtypes.front()) {
      case torch::kBFloat16:
        return 1.6e-2;
      case torch::kFloat16:
        return 2e-3;
      default:
        return kFloatRounding;
    }
  }
};

TEST_P(AttentionPropertyTest, CausalOutputsDoNotSeeLaterTokens) {
  Case c = make_case();
  c.borders = {0, 100};
  c.options.causal = true;
  const CaseTensors t = make_tensors(c, GetParam().device);
  const AttentionResult before = attend(t, c.options);
  {
    const torch::NoGradGuard no_grad;
    for (Tensor x : {t.query, t.key, t.value}) x.index_put_({Slice(), Slice(60)}, 3.0);
  }
  const AttentionResult after = attend(t, c.options);
  EXPECT_LE(max_difference(before.out.narrow(1, 0, 60), after.out.narrow(1, 0, 60)), rounding());
  EXPECT_LE(max_difference(before.rem.narrow(2, 0, 60), after.rem.narrow(2, 0, 60)), rounding());
  EXPECT_GT(max_difference(before.out.narrow(1, 60, 40), after.out.narrow(1, 60, 40)), 0.1);
}

TEST_P(AttentionPropertyTest, PackedDocumentsAreThoseAlone) {
  Case c = make_case();
  c.packed = true;
  c.borders = {0, 20, 20, 90, 91};
  const CaseTensors t = make_tensors(c, GetParam().device);
  const AttentionResult packed = attend(t, c.options);
  const auto packed_grad = gradients(packed, t);
  for (size_t document = 0; document + 1 < c.borders.size(); ++document) {
    const int64_t begin = c.borders[document], length = c.borders[document + 1] - begin;
    if (length == 0) continue;
    const auto alone = [&](const Tensor& x) {
      return x.narrow(0, begin, length).unsqueeze(0).detach().requires_grad_();
    };
    CaseTensors single{alone(t.query),
                       alone(t.key),
                       alone(t.value),
                       t.decay,
                       std::nullopt,
                       alone(t.grad_out).detach(),
                       alone(t.grad_rem).detach().transpose(1, 2)};
    const AttentionResult result = attend(single, c.options);
    EXPECT_LE(max_difference(result.out.squeeze(0), packed.out.narrow(0, begin, length)), rounding());
    EXPECT_LE(max_difference(result.rem.squeeze(0).transpose(0, 1), packed.rem.narrow(0, begin, length)),
              rounding());
    const auto grad = gradients(result, single);
    for (int i = 0; i < 3; ++i) {
      EXPECT_LE(max_difference(grad[i].squeeze(0), packed_grad[i].narrow(0, begin, length)), 5 * rounding());
    }
  }
}

TEST_P(AttentionPropertyTest, BordersFromTheHostChangeNothing) {
  Case c = make_case();
  c.packed = true;
  c.borders = {0, 20, 20, 90, 91};
  const CaseTensors t = make_tensors(c, GetParam().device);
  AttentionOptions options = c.options;
  options.backend = GetParam().backend;
  options.deterministic = true;
  const AttentionResult read = attend(t, options);
  const AttentionResult given =
      attention(t.query, t.key, t.value, t.decay, t.cu_seqlens, 70, options, c.borders);
  EXPECT_TRUE(torch::equal(read.out, given.out));
  const auto read_grad = gradients(read, t), given_grad = gradients(given, t);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(torch::equal(read_grad[i], given_grad[i]));
}

// With values of 1 an output is the sum of its row's weights. Together with the remainders of the sticks it
// is constant.
TEST_P(AttentionPropertyTest, WeightsAndRemaindersMakeUpTheSticks) {
  for (const AttentionOptions& mode : all_modes(/*window=*/9)) {
    Case c = make_case();
    c.borders = {0, 70};
    c.options = mode;
    SCOPED_TRACE(describe(c));
    CaseTensors t = make_tensors(c, GetParam().device);
    t.value = torch::ones_like(t.value);
    const AttentionResult result = attend(t, c.options);
    const int64_t sides = mode.causal ? 1 : 2;
    const Tensor row_sum = result.out.select(3, 0).transpose(1, 2);  // [batch, heads, seq_len]
    const Tensor total = mode.remainder == Remainder::kSelf ? row_sum : row_sum + result.rem.sum(3);
    if (mode.mass == Mass::kShared) {
      EXPECT_LE(row_sum.max().item<double>(), 1 + rounding());
      EXPECT_LE(max_difference(total, torch::ones_like(total)), rounding());
    } else {
      AttentionOptions only_self = mode;
      only_self.window = 1;
      only_self.remainder = Remainder::kDrop;
      const Tensor self_weight = attend(t, only_self).out.select(3, 0).transpose(1, 2);
      EXPECT_LE(max_difference(total - self_weight, torch::full_like(total, sides)), 2 * rounding());
    }
  }
}

TEST_P(AttentionPropertyTest, BatchRowsAndHeadsAreIndependent) {
  Case c = make_case();
  c.batch = 3;
  c.heads = 6;
  c.borders = {0, 50};
  const CaseTensors t = make_tensors(c, GetParam().device);
  const AttentionResult result = attend(t, c.options);
  const auto permuted = [](const Tensor& x, int64_t head_axis) { return x.flip({0, head_axis}); };
  CaseTensors other = t;
  other.query = permuted(t.query, 2);
  other.key = permuted(t.key, 2);
  other.value = permuted(t.value, 2);
  other.decay = t.decay.flip(0);
  const AttentionResult flipped = attend(other, c.options);
  EXPECT_LE(max_difference(permuted(flipped.out, 2), result.out), rounding());
  EXPECT_LE(max_difference(permuted(flipped.rem, 1), result.rem), rounding());
}

TEST_P(AttentionPropertyTest, NothingTakesPart) {
  for (const Remainder remainder : {Remainder::kDrop, Remainder::kSelf}) {
    Case c = make_case();
    c.borders = {0, 40};
    c.options.window = 1;
    c.options.self_key = false;
    c.options.remainder = remainder;
    const CaseTensors t = make_tensors(c, GetParam().device);
    const AttentionResult result = attend(t, c.options);
    EXPECT_TRUE(torch::equal(result.rem, torch::ones_like(result.rem)));
    const Tensor expected = remainder == Remainder::kSelf ? 2 * t.value : torch::zeros_like(t.value);
    EXPECT_LE(max_difference(result.out, expected), rounding());
    for (const Tensor& grad : gradients(result, t)) EXPECT_TRUE(all_finite(grad));
  }
}

TEST_P(AttentionPropertyTest, NoTokensAtAll) {
  for (const bool packed : {false, true}) {
    Case c = make_case();
    c.packed = packed;
    c.borders = {0, 0, 0};
    const CaseTensors t = make_tensors(c, GetParam().device);
    const AttentionResult result = attend(t, c.options);
    EXPECT_EQ(result.out.sizes(), t.query.sizes());
    EXPECT_EQ(result.rem.sizes(), t.grad_rem.sizes());
    const auto grad = gradients(result, t);
    EXPECT_EQ(grad[0].sizes(), t.query.sizes());
    EXPECT_EQ(grad[3].abs().sum().item<double>(), 0.0);
  }
}

// Logits are exactly +-1e4. At +1e4 the nearest key of a side takes the whole stick, across borders of row
// blocks too and however strong the decay is. At -1e4 no key takes anything.
TEST_P(AttentionPropertyTest, SaturatedLogitsAreExact) {
  constexpr int64_t kLength = 300;
  for (const auto dtype : dtypes({torch::kFloat32, torch::kBFloat16, torch::kFloat16})) {
    for (const auto& [logit, decay] : {std::pair{1e4, 0.0}, {1e4, 100.0}, {-1e4, 0.0}}) {
      Case c = make_case();
      c.borders = {0, kLength};
      c.dtype = dtype;
      c.options.rotary_base = 0;
      c.options.scale = logit / 8;  // because <q, k> = head_dim = 8
      CaseTensors t = make_tensors(c, GetParam().device);
      t.query = torch::ones_like(t.query).requires_grad_();
      t.key = torch::ones_like(t.key).requires_grad_();
      t.decay = torch::full_like(t.decay, decay).requires_grad_();
      const AttentionResult result = attend(t, c.options);
      Tensor expected = torch::zeros_like(t.value), rem = torch::ones_like(result.rem);
      if (logit > 0) {
        const torch::NoGradGuard no_grad;
        expected = t.value.to(torch::kFloat32).clone();
        expected.narrow(1, 1, kLength - 1) += t.value.narrow(1, 0, kLength - 1);
        expected.narrow(1, 0, kLength - 1) += t.value.narrow(1, 1, kLength - 1);
        expected = expected.to(dtype);
        rem.zero_();
        rem.select(2, 0).select(2, 0).fill_(1);            // no key before the first token
        rem.select(2, kLength - 1).select(2, 1).fill_(1);  // no key after the last token
      }
      EXPECT_TRUE(torch::allclose(result.out, expected, 1e-2, dtype == torch::kFloat32 ? 1e-6 : 1e-5))
          << torch::toString(dtype) << ", logit " << logit << ", decay " << decay;
      EXPECT_LE(max_difference(result.rem, rem), kFloatRounding);
      for (const Tensor& grad : gradients(result, t)) EXPECT_TRUE(all_finite(grad));
    }
  }
}

TEST_P(AttentionPropertyTest, ExtremeInputsStayFinite) {
  for (const AttentionOptions& mode : all_modes(/*window=*/5)) {
    for (const double decay : {0.0, 100.0}) {
      for (const int64_t length : {1, 67}) {
        Case c = make_case();
        c.borders = {0, length};
        c.options = mode;
        c.decay_from = c.decay_to = decay;
        // Logits of both signs exceed 1e4. For float16 they exceed only 1e3, because gradients would leave
        // its range.
        c.query_scale = c.dtype == torch::kFloat16 ? 1e3 : 1e4;
        c.seed = 5;
        SCOPED_TRACE(describe(c));
        const CaseTensors t = make_tensors(c, GetParam().device);
        const AttentionResult result = attend(t, c.options);
        EXPECT_TRUE(all_finite(result.out));
        EXPECT_TRUE(all_finite(result.rem));
        EXPECT_GE(result.rem.min().item<double>(), 0.0);
        EXPECT_LE(result.rem.max().item<double>(), 1.0);
        for (const Tensor& grad : gradients(result, t)) EXPECT_TRUE(all_finite(grad));
      }
    }
  }
}

// Rotation takes the largest float16 number out of the range of float16.
TEST_P(AttentionPropertyTest, LargestFloat16StaysFinite) {
  for (const auto dtype : dtypes({torch::kFloat16})) {
    Case c = make_case();
    c.dtype = dtype;
    c.borders = {0, 70};
    CaseTensors t = make_tensors(c, GetParam().device);
    t.query = torch::full_like(t.query, 65504);
    t.key = torch::full_like(t.key, 65504);
    const AttentionResult result = attend(t, c.options);
    EXPECT_TRUE(all_finite(result.out));
    EXPECT_TRUE(all_finite(result.rem));
  }
}

// dA is a sum of 64 products 100 * 100, which exceeds the range of float16, and its sums exceed it further:
// gradients may be infinite, but never NaN. attention_extremes_test.cpp says which must be.
TEST_P(AttentionPropertyTest, GradientsBeyondFloat16AreNeverNan) {
  for (const auto dtype : dtypes({torch::kFloat16})) {
    Case c = make_case();
    c.dtype = dtype;
    c.borders = {0, 70};
    c.head_dim = 64;
    CaseTensors t = make_tensors(c, GetParam().device);
    t.value = torch::full_like(t.value, 100).requires_grad_();
    t.grad_out = torch::full_like(t.grad_out, 100);
    for (const Tensor& grad : gradients(attend(t, c.options), t))
      EXPECT_FALSE(torch::isnan(grad).any().item<bool>());
  }
}

TEST_P(AttentionPropertyTest, SkippingChangesNothingVisible) {
  Case c = make_case();
  c.borders = {0, 600};
  c.heads = 3;
  c.decay_from = 0.2;
  c.decay_to = 2.0;
  const CaseTensors t = make_tensors(c, GetParam().device);
  AttentionOptions dense = c.options;
  dense.skip_below = 0;
  const AttentionResult skipped = attend(t, c.options), full = attend(t, dense);
  EXPECT_LE(max_difference(skipped.out, full.out), rounding());
  EXPECT_LE(max_difference(skipped.rem, full.rem), kFloatRounding);
  const auto skipped_grad = gradients(skipped, t), full_grad = gradients(full, t);
  const double bound = low_precision() ? bounds_of(c.dtype).query : 1e-5;
  for (int i = 0; i < 4; ++i) EXPECT_LE(relative_error(skipped_grad[i], full_grad[i]), bound);

  // Without skipping, every pair is visited. With skipping, kernels stop early.
  const auto visited = [&](AttentionOptions options) {
    options.backend = GetParam().backend;
    return visited_share(t.query, t.key, t.value, t.decay, std::nullopt, 0, options);
  };
  EXPECT_DOUBLE_EQ(visited(dense), 1.0);
  if (GetParam().name != "reference" && GetParam().name != "auto") {
    EXPECT_LT(visited(c.options), 0.5);
  }
}

TEST_P(AttentionPropertyTest, SameBitsEveryTime) {
  Case c = make_case();
  c.batch = 2;
  c.borders = {0, 700};  // several blocks of queries, all of which add to the same keys
  c.options.deterministic = true;
  c.options.skip_below = 0;
  const CaseTensors t = make_tensors(c, GetParam().device);
  const AttentionResult first = attend(t, c.options);
  const auto first_grad = gradients(first, t);
  const int runs = GetParam().backend == Backend::kReference ? 2 : GetParam().device == torch::kCPU ? 5 : 50;
  for (int run = 1; run < runs; ++run) {
    const AttentionResult again = attend(t, c.options);
    EXPECT_TRUE(torch::equal(first.out, again.out));
    EXPECT_TRUE(torch::equal(first.rem, again.rem));
    const auto again_grad = gradients(again, t);
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(torch::equal(first_grad[i], again_grad[i]));
  }
}

TEST_P(AttentionPropertyTest, SecondOrderGradientIsRefused) {
  Case c = make_case();
  c.borders = {0, 9};
  const CaseTensors t = make_tensors(c, GetParam().device);
  for (const Tensor& through : {t.query, t.key, t.value, t.decay}) {
    const AttentionResult result = attend(t, c.options);
    const auto grad = torch::autograd::grad({result.out.square().sum()}, {through}, {}, /*retain_graph=*/true,
                                            /*create_graph=*/true);
    EXPECT_THAT([&] { grad[0].sum().backward(); }, ThrowsUserError("second-order gradient"));
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, AttentionPropertyTest, testing::ValuesIn(cpu_targets()), target_name);
INSTANTIATE_TEST_SUITE_P(Gpu, AttentionPropertyTest, testing::ValuesIn(gpu_targets()), target_name);

TEST(AttentionKernelTest, SameBitsForAnyNumberOfThreads) {
  Case c;
  c.packed = true;
  c.borders = {0, 170, 171, 300};
  c.heads = 3;
  c.head_dim = 16;
  const CaseTensors t = make_tensors(c, torch::kCPU);
  const int threads_before = at::get_num_threads();
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    const AttentionResult result = attention(t.query, t.key, t.value, t.decay, t.cu_seqlens, 0, c.options);
    auto tensors = gradients(result, t);
    tensors.push_back(result.out.detach());
    tensors.push_back(result.rem.detach());
    return tensors;
  };
  const auto one = run(1);
  for (const int threads : {2, 3}) {
    const auto many = run(threads);
    for (size_t i = 0; i < one.size(); ++i)
      EXPECT_TRUE(torch::equal(one[i], many[i])) << "result " << i << " with " << threads << " threads";
  }
  at::set_num_threads(threads_before);
}

}  // namespace
}  // namespace rse
