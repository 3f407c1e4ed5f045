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
  expect_error(
      {}, [](Call& c) { c.max_seqlen = -1; }, "max_seqlen is -1, expected");
  expect_error(
      {}, [](Call& c) { c.max_seqlen = 4; }, "max_seqlen is 4, expected 0 (unknown) or at least");
  for (const double base : {-1.0, 0.5, 1.0, kNan}) {
    expect_error(
        {}, [&](Call& c) { c.options.rotary_base = base; },
        fmt::format("rotary_base is {}, expected 0", base));
  }
  expect_error(
      {}, [](Call& c) { c.options.scale = kNan; }, "scale is nan, expected a finite number");
  for (const double skip_below : {-1e-9, 1.0, kNan}) {
    expect_error(
        {}, [&](Call& c) { c.options.skip_below = skip_below; },
        fmt::format("skip_below is {}, expected", skip_below));
  }
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
