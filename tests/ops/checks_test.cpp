// Tests that every wrong argument is an error in one line that names the argument, its value and what was
// expected.
#include <gtest/gtest.h>

#include <limits>

#include "ops/attention.h"
#include "tests/support.h"

namespace rse {
namespace {

using torch::Tensor;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
constexpr int64_t kSmallest = std::numeric_limits<int64_t>::min();

// A valid call, which each test spoils in one place.
struct Call {
  Tensor query = torch::randn({2, 5, 3, 16}), key = torch::randn({2, 5, 3, 16}),
         value = torch::randn({2, 5, 3, 16}), decay = torch::full({3}, 0.1);
  std::optional<Tensor> cu_seqlens;
  int64_t max_seqlen = 0;
  AttentionOptions options;
  std::vector<int64_t> borders;

  auto run() const {
    return [this] { attention(query, key, value, decay, cu_seqlens, max_seqlen, options, borders); };
  }
};

Call packed_call(const std::vector<int64_t>& borders) {
  Call call;
  call.query = call.key = call.value = torch::randn({5, 3, 16});
  call.cu_seqlens = torch::tensor(borders, torch::kInt32);
  return call;
}

template <typename Spoil>
void expect_error(Call call, const Spoil& spoil, const std::string& message) {
  spoil(call);
  EXPECT_THAT(call.run(), ThrowsUserError("attention: " + message));
}

TEST(AttentionChecksTest, ValidCallsPass) {
  EXPECT_NO_THROW(Call().run()());
  EXPECT_NO_THROW(packed_call({0, 2, 2, 5}).run()());
}

TEST(AttentionChecksTest, Shapes) {
  expect_error(
      {}, [](Call& c) { c.query = c.query[0]; }, "query has shape [5, 3, 16], expected [batch, seq, heads");
  expect_error(
      {},
      [](Call& c) {
        c.cu_seqlens = torch::tensor({0, 5}, torch::kInt32);
      },
      "query has shape [2, 5, 3, 16], expected [total, heads, head_dim] with cu_seqlens");
  expect_error(
      {}, [](Call& c) { c.key = c.key.narrow(1, 0, 4); },
      "key has shape [2, 4, 3, 16], expected query's [2, 5, 3, 16]");
  expect_error(
      {}, [](Call& c) { c.value = c.value.narrow(2, 0, 1); }, "value has shape [2, 5, 1, 16]");
  expect_error(
      {}, [](Call& c) { c.decay = torch::ones({2}); }, "decay has shape [2], expected [heads] = [3]");
  expect_error(
      {},
      [](Call& c) {
        c.query = c.key = c.value = torch::randn({2, 5, 0, 16});
      },
      "query has shape [2, 5, 0, 16], expected at least one head");
  for (const int64_t head_dim : {4, 12, 136}) {
    expect_error(
        {},
        [&](Call& c) {
          c.query = c.key = c.value = torch::randn({1, 2, 3, head_dim});
        },
        fmt::format("head_dim is {}, expected a multiple of 8 from 8 to 128", head_dim));
  }
}

TEST(AttentionChecksTest, DtypesAndStrides) {
  expect_error(
      {}, [](Call& c) { c.query = c.query.to(torch::kInt32); }, "query has dtype Int, expected float32");
  expect_error(
      {}, [](Call& c) { c.value = c.value.to(torch::kBFloat16); },
      "value has dtype BFloat16, expected query's");
  expect_error(
      {}, [](Call& c) { c.decay = c.decay.to(torch::kFloat64); }, "decay has dtype Double, expected Float");
  expect_error(
      {},
      [](Call& c) {
        c.query = c.query.to(torch::kFloat64);
        c.key = c.value = c.query;
      },
      "decay has dtype Float, expected Double");
  expect_error(
      {},
      [](Call& c) {
        c.key = torch::randn({2, 5, 16, 3}).transpose(2, 3);
      },
      "key has strides [240, 48, 1, 3], expected stride 1 in head_dim");
  expect_error(
      {}, [](Call& c) { c.value = c.value.to(torch::kMeta); },
      "value is on meta, expected query's device cpu");
}

TEST(AttentionChecksTest, Decay) {
  expect_error(
      {}, [](Call& c) { c.decay[1] = -0.5; }, "decay[1] is -0.5, expected a finite number >= 0");
  expect_error(
      {}, [](Call& c) { c.decay[2] = std::numeric_limits<float>::infinity(); }, "decay[2] is inf");
  expect_error(
      {}, [](Call& c) { c.decay[0] = std::numeric_limits<float>::quiet_NaN(); }, "decay[0] is nan");
}

TEST(AttentionChecksTest, Options) {
  expect_error(
      {}, [](Call& c) { c.options.window = -2; }, "window is -2, expected 0 (none) or a positive distance");
  for (const int64_t negative : {int64_t{-1}, -(int64_t{1} << 32) + 5, kSmallest}) {
    expect_error(
        {}, [&](Call& c) { c.options.window = negative; }, fmt::format("window is {}, expected", negative));
    expect_error(
        {}, [&](Call& c) { c.max_seqlen = negative; }, fmt::format("max_seqlen is {}, expected", negative));
  }
  expect_error(
      {}, [](Call& c) { c.max_seqlen = 4; }, "max_seqlen is 4, expected 0 (unknown) or at least");
  for (const double base : {-1.0, 0.5, 1.0, kNan}) {
    expect_error(
        {}, [&](Call& c) { c.options.rotary_base = base; },
        fmt::format("rotary_base is {}, expected 0", base));
  }
  for (const double scale : {kNan, kInfinity, -kInfinity, 1.1e30, -1.1e30, 3.5e38, 1e300}) {
    expect_error(
        {}, [&](Call& c) { c.options.scale = scale; },
        fmt::format("scale is {}, expected a finite number from -1e+30 to 1e+30", scale));
  }
  for (const double skip_below : {-1e-9, 1.0, kNan}) {
    expect_error(
        {}, [&](Call& c) { c.options.skip_below = skip_below; },
        fmt::format("skip_below is {}, expected", skip_below));
  }
}

// The results and gradients of a call, float32, in one tensor.
Tensor all_results(Call call) {
  for (Tensor* x : {&call.query, &call.key, &call.value, &call.decay}) x->requires_grad_(true);
  const AttentionResult result = attention(call.query, call.key, call.value, call.decay, call.cu_seqlens,
                                           call.max_seqlen, call.options, call.borders);
  std::vector<Tensor> all = {result.out, result.rem};
  const auto gradients = torch::autograd::grad({result.out.sum() + result.rem.sum()},
                                               {call.query, call.key, call.value, call.decay});
  all.insert(all.end(), gradients.begin(), gradients.end());
  for (Tensor& x : all) x = x.detach().flatten();
  return torch::cat(all);
}

TEST(AttentionChecksTest, NoWindowIsTooLarge) {
  for (const Backend backend : {Backend::kAuto, Backend::kReference}) {
    for (const bool causal : {false, true}) {
      Call call;
      call.query = torch::randn({1, 200, 3, 16});
      call.key = call.value = call.query.clone();
      call.options.backend = backend;
      call.options.causal = causal;
      const Tensor expected = all_results(call);
      for (const int64_t window :
           {int64_t{200}, int64_t{1} << 31, int64_t{1} << 62, kLargest - 62, kLargest}) {
        call.options.window = window;
        EXPECT_TRUE(torch::equal(all_results(call), expected)) << to_string(backend) << ", " << window;
      }
      const auto share = [&](int64_t window) {
        call.options.window = window;
        return visited_share(call.query, call.key, call.value, call.decay, {}, kLargest, call.options);
      };
      EXPECT_EQ(share(kLargest), share(0));
    }
  }
}

TEST(AttentionChecksTest, EveryDecayAndScaleIsFiniteOrRefused) {
  for (const Backend backend : {Backend::kAuto, Backend::kReference}) {
    for (const auto dtype : {torch::kFloat32, torch::kFloat64, torch::kBFloat16, torch::kFloat16}) {
      const bool wide = dtype == torch::kFloat64;
      for (const double decay :
           {1e30, 1e37, 2.3e38, 2.4e38, 3.4e38, wide ? 1e308 : 0.0, wide ? 1.7e308 : 0.0}) {
        Call call;
        for (Tensor* x : {&call.query, &call.key, &call.value}) *x = x->to(dtype);
        call.decay = torch::full({3}, decay, wide ? torch::kFloat64 : torch::kFloat32);
        call.options.backend = backend;
        EXPECT_TRUE(torch::isfinite(all_results(call)).all().item<bool>())
            << to_string(backend) << ", " << torch::toString(dtype) << ", decay " << decay;
      }
    }
    for (const double scale : {0.0, 1e-300, -0.25, 1e10, 1e30, -1e30}) {
      Call call;
      call.options.backend = backend;
      call.options.scale = scale;
      EXPECT_TRUE(torch::isfinite(all_results(call)).all().item<bool>())
          << to_string(backend) << ", " << scale;
    }
  }
}

TEST(AttentionChecksTest, UndefinedTensors) {
  expect_error(
      {}, [](Call& c) { c.query = Tensor(); }, "query is None, expected a tensor");
  expect_error(
      {}, [](Call& c) { c.key = Tensor(); }, "key is None, expected a tensor");
  expect_error(
      {}, [](Call& c) { c.value = Tensor(); }, "value is None, expected a tensor");
  expect_error(
      {}, [](Call& c) { c.decay = Tensor(); }, "decay is None, expected a tensor");
  expect_error(
      packed_call({0, 5}), [](Call& c) { c.cu_seqlens = Tensor(); }, "cu_seqlens is None, expected a tensor");
  expect_error(
      {}, [](Call& c) { c.query = c.key = c.value = c.decay = Tensor(); },
      "query is None, expected a tensor");
}

TEST(AttentionChecksTest, SizesBeyondInt32) {
  constexpr int64_t kMany = int64_t{1} << 31;
  const auto spoil = [](std::vector<int64_t> sizes) {  // of strides 0, which take no memory
    return [sizes](Call& c) {
      c.query = c.key = c.value = torch::zeros({8}).expand(sizes);
      c.decay = torch::zeros({1}).expand({sizes[2]});
    };
  };
  expect_error({}, spoil({kMany, 1, 1, 8}), "query has 2147483648 batch rows, expected at most 2147483519");
  expect_error({}, spoil({1, kMany, 1, 8}), "query has 2147483648 tokens, expected at most");
  expect_error({}, spoil({1, 1, kMany, 8}), "query has 2147483648 heads, expected at most");
}

TEST(AttentionChecksTest, CuSeqlens) {
  expect_error(
      packed_call({1, 5}), [](Call&) {}, "cu_seqlens[0] is 1, expected 0");
  expect_error(
      packed_call({0, 3, 2, 5}), [](Call&) {}, "cu_seqlens[2] is 2, expected at least cu_seqlens[1] = 3");
  expect_error(
      packed_call({0, 4}), [](Call&) {}, "cu_seqlens ends at 4, expected the number of tokens, 5");
  expect_error(
      packed_call({0}), [](Call&) {}, "cu_seqlens has shape [1], expected [documents + 1]");
  expect_error(
      packed_call({0, 5}), [](Call& c) { c.cu_seqlens = c.cu_seqlens->to(torch::kInt64); },
      "cu_seqlens has dtype Long, expected int32");
  expect_error(
      packed_call({0, 1, 5}), [](Call& c) { c.max_seqlen = 3; },
      "max_seqlen is 3, expected 0 (unknown) or at least the longest document's 4");
  expect_error(
      packed_call({0, 5}),
      [](Call& c) {
        c.borders = {0, 2, 5};
      },
      "borders has 3 entries, expected the 2");
  expect_error(
      {},
      [](Call& c) {
        c.borders = {0, 5};
      },
      "borders has 2 entries, expected the 0 of cu_seqlens");
  expect_error(
      packed_call({0, 2, 5}),
      [](Call& c) {
        c.borders = {0, 3, 5};
      },
      "borders[1] is 3, expected cu_seqlens' 2");
  expect_error(  // lengths that wrap around to positive numbers
      packed_call({0, 2, 3, 5}),
      [](Call& c) {
        c.borders = {0, kLargest, kSmallest, 5};
      },
      "borders[1] is 9223372036854775807, expected cu_seqlens' 2");
}

TEST(AttentionChecksTest, Names) {
  EXPECT_EQ(parse_mass("shared"), Mass::kShared);
  EXPECT_EQ(parse_remainder("self"), Remainder::kSelf);
  EXPECT_EQ(parse_backend("reference"), Backend::kReference);
  EXPECT_EQ(parse_backend("portable"), Backend::kPortable);
  EXPECT_STREQ(to_string(Backend::kPortable), "portable");
  EXPECT_STREQ(to_string(Mass::kPerSide), "per_side");
  EXPECT_THAT([] { parse_mass("half"); }, ThrowsUserError("mass is 'half', expected 'per_side' or 'shared'"));
  EXPECT_THAT([] { parse_remainder(""); }, ThrowsUserError("remainder is '', expected 'drop' or 'self'"));
  EXPECT_THAT([] { parse_backend("cuda"); },
              ThrowsUserError("backend is 'cuda', expected 'auto', 'reference', 'portable' or 'hopper'"));
}

TEST(AttentionChecksTest, BackendsDescribeThemselves) {
  EXPECT_THAT(describe_backend(Backend::kAuto, torch::kCPU), testing::StartsWith("cpu kernel ("));
  EXPECT_EQ(describe_backend(Backend::kReference, torch::kCPU), "reference (composed LibTorch operators)");
  EXPECT_THAT(describe_backend(Backend::kPortable, torch::kCUDA),
              testing::StartsWith("portable CUDA kernels"));
  if (!torch::cuda::is_available()) {
    EXPECT_EQ(describe_backend(Backend::kAuto, torch::kCUDA), "reference (composed LibTorch operators)");
  }
}

TEST(AttentionChecksTest, ForcedKernelsSayWhatTheyTake) {
  expect_error(
      {}, [](Call& c) { c.options.backend = Backend::kPortable; }, "backend is 'portable', but");
}

TEST(GpuAttentionChecksTest, ForcedKernelsSayWhatTheyTake) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
  const auto x = torch::zeros({1, 5, 2, 8}, torch::kCUDA), decay = torch::zeros({2}, torch::kCUDA);
  AttentionOptions options;
  options.backend = Backend::kHopper;
  EXPECT_THAT([&] { attention(x, x, x, decay, std::nullopt, 0, options); },
              ThrowsUserError("backend is 'hopper', but the hopper kernels take bfloat16 and float16; "
                              "query is Float on cuda:0"));
}

}  // namespace
}  // namespace rse
