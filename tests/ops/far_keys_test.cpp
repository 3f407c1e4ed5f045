// Compares every backend with the oracle where keys far from their query weigh much. With random logits of
// mean zero a stick is used up within some forty keys, so that a fault beyond the neighbouring tile, at the
// border of a wide window, or in a skip bound stays below every tolerance. The inputs here are such that it
// does not; the suite FarKeys checks that they are.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <map>
#include <numbers>

#include "tests/ops/attention_cases.h"
#include "tests/ops/targets.h"

namespace rse {
namespace {

using torch::Tensor;

// [seq_len, heads, head_dim], float64 on the CPU; query and key as the rotation leaves them.
struct RotatedInputs {
  Tensor query, key, value, grad_out;
};

// Rounds to numbers that bfloat16 and float16 both hold, so that one run of the oracle serves every dtype.
Tensor exact_in_every_dtype(const Tensor& x) {
  const Tensor rounded = x.to(torch::kBFloat16).to(torch::kFloat64);
  return rounded.masked_fill(rounded.abs() < 0x1p-14, 0.0);
}

// The position of each token in its document, and how many tokens of the document come after it.
std::pair<Tensor, Tensor> places(const std::vector<int64_t>& borders) {
  std::vector<Tensor> before, after;
  for (size_t document = 0; document + 1 < borders.size(); ++document) {
    before.push_back(torch::arange(borders[document + 1] - borders[document], torch::kFloat64));
    after.push_back(before.back().flip(0));
  }
  return {torch::cat(before), torch::cat(after)};
}

// The inverse of the rotation of src/ops/README.md section 1.
Tensor rotate_back(const Tensor& x, const std::vector<int64_t>& borders, double base) {
  if (base == 0) return x;
  const int64_t half = x.size(2) / 2;
  const Tensor frequency = torch::pow(base, -torch::arange(half, torch::kFloat64) / half);
  const Tensor angle = (places(borders).first.unsqueeze(1) * frequency).unsqueeze(1);
  const Tensor a = x.narrow(2, 0, half), b = x.narrow(2, half, half);
  return torch::cat({a * angle.cos() + b * angle.sin(), b * angle.cos() - a * angle.sin()}, 2);
}

// The operator's inputs, in float64 on the CPU but exact in every dtype.
CaseTensors exact_tensors(const Case& c, const RotatedInputs& in) {
  const auto shaped = [&](const Tensor& x) {
    const Tensor exact = exact_in_every_dtype(x);
    return c.packed ? exact : exact.unsqueeze(0);
  };
  const double base = c.options.rotary_base;
  CaseTensors t;
  t.query = shaped(rotate_back(in.query, c.borders, base));
  t.key = shaped(rotate_back(in.key, c.borders, base));
  t.value = shaped(in.value);
  t.grad_out = shaped(in.grad_out);
  t.decay = torch::linspace(c.decay_from, c.decay_to, c.heads, torch::kFloat32).to(torch::kFloat64);
  const int64_t seq = c.borders.back(), sides = c.options.causal ? 1 : 2;
  const std::vector<int64_t> rem_sizes =
      c.packed ? std::vector<int64_t>{seq, c.heads, sides} : std::vector<int64_t>{1, c.heads, seq, sides};
  t.grad_rem = exact_in_every_dtype(torch::randn(rem_sizes, torch::kFloat64));
  return t;
}

CaseTensors cast_tensors(const Case& c, const CaseTensors& exact, const torch::Device& device) {
  const auto wide = c.dtype == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  CaseTensors t;
  t.query = exact.query.to(device, c.dtype).clone().requires_grad_();
  t.key = exact.key.to(device, c.dtype).clone().requires_grad_();
  t.value = exact.value.to(device, c.dtype).clone().requires_grad_();
  t.decay = exact.decay.to(device, wide).clone().requires_grad_();
  if (c.packed) t.cu_seqlens = torch::tensor(c.borders, torch::kInt64).to(device, torch::kInt32);
  t.grad_out = exact.grad_out.to(device, c.dtype);
  t.grad_rem = exact.grad_rem.to(device, wide);
  return t;
}

// Logits near -5: of a stick, half is left after some 100 keys. loud: every 90th key takes ten times as much,
// and its value is four times as large. Values and their gradients have a mean, so that the gradient of decay
// does not cancel.
CaseTensors holding_sticks(const Case& c, bool loud) {
  torch::manual_seed(c.seed);
  const std::vector<int64_t> shape{c.borders.back(), c.heads, c.head_dim};
  const auto noise = [&] { return torch::randn(shape, torch::kFloat64); };
  constexpr double kKeySize = 0.8;
  const double query_size = 5.0 / std::sqrt(static_cast<double>(c.head_dim)) / kKeySize;
  RotatedInputs in{query_size * (1 + 0.3 * noise()), -kKeySize * (1 + 0.3 * noise()), noise() + 0.4,
                   noise() + 0.4};
  for (int64_t j = 45; loud && j < c.borders.back(); j += 90) {
    in.key[j].mul_(0.5);
    in.value[j].mul_(4.0);
  }
  return exact_tensors(c, in);
}

// The modes by number, 0 to 15.
AttentionOptions mode(int number) {
  AttentionOptions options;
  options.causal = number & 1;
  options.mass = number & 2 ? Mass::kShared : Mass::kPerSide;
  options.self_key = !(number & 4);
  options.remainder = number & 8 ? Remainder::kSelf : Remainder::kDrop;
  return options;
}

// Rotation and packing alternate, such that each mode of two settings meets both.
Case holding_case(int mode_number) {
  Case c;
  c.options = mode(mode_number);
  const bool odd = __builtin_popcount(static_cast<unsigned>(mode_number)) % 2 == 1;
  c.options.rotary_base = odd ? 10000.0 : 0.0;
  c.packed = (mode_number / 2) % 2 == 1;
  c.borders = c.packed ? std::vector<int64_t>{0, 9, 420, 421} : std::vector<int64_t>{0, 420};
  c.head_dim = c.options.causal ? 64 : 32;
  c.decay_to = 0.004;
  c.seed = 100 + static_cast<uint64_t>(mode_number);
  return c;
}

// Four modes, which see a window off by one on either side, with and without rotation, packed or not.
std::vector<Case> windowed_cases(int64_t window) {
  std::vector<Case> cases;
  for (const int number : {0, 1, 6, 11}) {
    Case c = holding_case(number);
    c.heads = 1;
    c.decay_from = c.decay_to = 0.004;
    c.options.window = window;
    cases.push_back(c);
  }
  return cases;
}

enum class Queries {
  kAllReachFar,
  kOthersAreShort,          // all but every 50th query have norms for which nothing far can weigh anything
  kOthersUseUpTheirSticks,  // all but every 50th query have used up their sticks within a few keys
};

// The first and the last key of a document are loud, all between are quiet, and the decay is strong. A query
// grows with its distance to the loud keys just as the decay does, so that it gives each of them the logit 0
// and takes half of what is left for it, while the bound of section 5, with the norms of quiet keys alone,
// falls below any skip_below long before. Logits are exact in every dtype: there is no rotation, and
// scale * log2(e) is a power of two.
Case loud_case(Queries queries, bool causal) {
  Case c;
  c.options.causal = causal;
  c.options.rotary_base = 0;
  c.options.scale = std::numbers::ln2 / 256;
  // Loud keys are the last of their sides: a bound that heeds them never lets anything be skipped, whatever
  // skip_below is.
  if (causal) c.options.skip_below = 1e-2;
  if (queries != Queries::kAllReachFar) c.options.mass = Mass::kShared;
  c.packed = causal;
  c.borders = {0, 448};
  c.head_dim = 16;
  c.decay_from = std::numbers::ln2 / 4;  // with scale and loud keys of 64 and 48, see below
  c.decay_to = std::numbers::ln2 * 3 / 16;
  c.seed = 300 + static_cast<uint64_t>(queries);
  return c;
}

CaseTensors loud_behind_quiet(const Case& c, Queries queries) {
  torch::manual_seed(c.seed);
  const int64_t seq = c.borders.back();
  const auto noise = [&] { return torch::randn({seq, c.heads, c.head_dim}, torch::kFloat64); };
  RotatedInputs in{192 * noise(), 0.1 * noise(), noise() + 0.4, noise() + 0.4};
  const auto [before, after] = places(c.borders);
  // Components 0 and 1 meet the loud keys, component 2 gives quiet keys the logit -8 ln 2.
  in.query.select(2, 0).copy_(before.unsqueeze(1));
  in.query.select(2, 1).copy_(after.unsqueeze(1));
  in.query.select(2, 2).fill_(2048);
  in.key.narrow(2, 0, 2).zero_();
  in.key.select(2, 2).fill_(-1);
  for (int64_t i = 0; queries != Queries::kAllReachFar && i < seq; ++i) {
    if (i % 50 == 7) continue;
    in.query[i].narrow(1, 0, 2).zero_();
    if (queries == Queries::kOthersAreShort) in.query[i].mul_(1.0 / 64);
    if (queries == Queries::kOthersUseUpTheirSticks) in.query[i].select(1, 2).neg_();
  }
  const Tensor loudness = torch::tensor({64.0, 48.0}, torch::kFloat64);
  for (int64_t side = 0; side < 2; ++side) {
    const int64_t j = side == 0 ? 0 : seq - 1;
    in.key[j].zero_();
    in.key[j].select(1, side).copy_(loudness);
    in.value[j].mul_(8.0);
  }
  return exact_tensors(c, in);
}

const std::vector<Queries> kEveryKindOfQueries = {Queries::kAllReachFar, Queries::kOthersAreShort,
                                                  Queries::kOthersUseUpTheirSticks};
// Around one and two tiles. With 66 and 130 the last tile of a block's window holds one key of it.
const std::vector<int64_t> kWindows = {63, 64, 65, 66, 127, 128, 129, 130};

class FarKeysTest : public TargetTest {
 protected:
  // One thread: there are too few pairs in a call for threads to gain what waiting for each other costs.
  void SetUp() override {
    TargetTest::SetUp();
    at::set_num_threads(1);
  }

  // Expects the bounds of section 4 in every dtype of the target.
  void compare(Case c, const CaseTensors& exact) {
    const CaseResults expected = results_of_oracle(c, exact, /*running=*/true);
    for (const auto dtype : GetParam().dtypes) {
      c.dtype = dtype;
      SCOPED_TRACE(describe(c));
      const CaseTensors t = cast_tensors(c, exact, GetParam().device);
      const RelativeErrors errors = errors_between(results_of(c, t, GetParam()), expected);
      expect_within(errors, bounds_of(dtype));
      worst_[dtype].keep_worst(errors);
    }
  }

  void TearDown() override {
    for (const auto& [dtype, e] : worst_) {
      std::cout << fmt::format("{}: out {:.1e} rem {:.1e} dq {:.1e} dk {:.1e} dv {:.1e} dlambda {:.1e}\n",
                               torch::toString(dtype), e.out, e.rem, e.query, e.key, e.value, e.decay);
    }
  }

 private:
  std::map<torch::ScalarType, RelativeErrors> worst_;
};

TEST_P(FarKeysTest, SticksThatHoldInEveryMode) {
  for (int number = 0; number < 16; ++number) {
    const Case c = holding_case(number);
    compare(c, holding_sticks(c, /*loud=*/true));
  }
}

TEST_P(FarKeysTest, WindowsAroundTileSizes) {
  for (const int64_t window : kWindows) {
    for (const Case& c : windowed_cases(window)) compare(c, holding_sticks(c, /*loud=*/false));
  }
}

TEST_P(FarKeysTest, LoudKeysBehindQuietOnes) {
  for (const Queries queries : kEveryKindOfQueries) {
    for (const bool causal : {false, true}) {
      const Case c = loud_case(queries, causal);
      compare(c, loud_behind_quiet(c, queries));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, FarKeysTest, testing::ValuesIn(cpu_targets()), target_name);
INSTANTIATE_TEST_SUITE_P(Gpu, FarKeysTest, testing::ValuesIn(gpu_targets()), target_name);

// The bounds of `dtype`, times `factor`, are exceeded by the error that another window makes.
void expect_window_shows(const Case& c, const CaseTensors& exact, int64_t window, torch::ScalarType dtype,
                         double factor) {
  Case other = c;
  other.options.window = window;
  SCOPED_TRACE(describe(c));
  const RelativeErrors change = errors_between(results_of_oracle(other, exact, /*running=*/true),
                                               results_of_oracle(c, exact, /*running=*/true));
  const RelativeErrors bounds = bounds_of(dtype);
  EXPECT_GE(change.out, factor * bounds.out);
  EXPECT_GE(change.rem, factor * bounds.rem);
  EXPECT_GE(change.query, factor * bounds.query);
  EXPECT_GE(change.key, factor * bounds.key);
  EXPECT_GE(change.value, factor * bounds.value);
  EXPECT_GE(change.decay, factor * bounds.decay);
}

// A backend that drops all keys at distances of 128 or more is beyond the widest bound in each result.
TEST(FarKeys, WithoutThemEachResultIsWrong) {
  for (const int number : {0, 1, 6, 11}) {
    const Case c = holding_case(number);
    expect_window_shows(c, holding_sticks(c, /*loud=*/true), 128, torch::kBFloat16, 5);
  }
  for (const Queries queries : kEveryKindOfQueries) {
    const Case c = loud_case(queries, /*causal=*/false);
    expect_window_shows(c, loud_behind_quiet(c, queries), 128, torch::kBFloat16, 5);
  }
}

TEST(FarKeys, AWindowOffByOneShowsInEachResult) {
  for (const int64_t window : {63, 129}) {
    for (const Case& c : windowed_cases(window)) {
      const CaseTensors exact = holding_sticks(c, /*loud=*/false);
      expect_window_shows(c, exact, window - 1, torch::kFloat32, 20);
      expect_window_shows(c, exact, window + 1, torch::kFloat32, 20);
    }
  }
}

}  // namespace
}  // namespace rse
