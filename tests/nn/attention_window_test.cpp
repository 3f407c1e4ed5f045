// Tests attention restricted to a window, in softmax attention and in RSE.
#include "nn/softmax_attention.h"
#include "nn/windowed_attention.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

const std::vector<std::vector<int32_t>> kBorders = {
    {0, 5, 5, 75, 225, 226}, {0, 150, 300}, {0, 130}, {0, 64, 128, 256}};

torch::Tensor normals(std::vector<int64_t> shape, int64_t seed) {
  torch::manual_seed(seed);
  return torch::randn(shape, torch::kFloat64);
}

// Dense softmax attention with a band as its mask, one sequence at a time.
torch::Tensor banded_softmax(const std::vector<torch::Tensor>& qkv, const SequenceLayout& layout) {
  std::vector<torch::Tensor> rows;
  for (int64_t s = 0; s < layout.sequences(); ++s) {
    const auto cut = [&](const torch::Tensor& x) {
      return x.slice(0, layout.borders[s], layout.borders[s + 1]).transpose(0, 1);
    };
    const torch::Tensor place = torch::arange(layout.borders[s + 1] - layout.borders[s]);
    const torch::Tensor far = (place.unsqueeze(1) - place).abs() >= layout.attention_window;
    const torch::Tensor scores =
        torch::matmul(cut(qkv[0]), cut(qkv[1]).transpose(1, 2)) / std::sqrt(double(qkv[0].size(2)));
    const torch::Tensor weights = scores.masked_fill(far, -INFINITY).softmax(-1);
    rows.push_back(torch::matmul(weights, cut(qkv[2])).transpose(0, 1));
  }
  return torch::cat(rows);
}

TEST(AttentionWindow, SoftmaxIsTheDenseOneUnderABand) {
  for (const std::vector<int32_t>& borders : kBorders) {
    for (const int64_t window : {1, 2, 7, 64, 100, 1000}) {
      const SequenceLayout layout = make_layout(borders, torch::kCPU, window);
      // The encoder passes views into one projection, and so does this test.
      const torch::Tensor fused = normals({layout.total(), 3, 2, 8}, 1).requires_grad_();
      const torch::Tensor weight = normals({layout.total(), 2, 8}, 2);
      const auto parts = fused.unbind(1);
      const torch::Tensor out = softmax_attention(parts[0], parts[1], parts[2], layout);
      const torch::Tensor expected = banded_softmax(parts, layout);
      EXPECT_LT(largest_difference(out, expected), 1e-12) << window;
      const auto gradient = torch::autograd::grad({(out * weight).sum()}, {fused})[0];
      EXPECT_LT(largest_difference(gradient, torch::autograd::grad({(expected * weight).sum()}, {fused})[0]),
                1e-12)
          << window;
    }
  }
}

TEST(AttentionWindow, WindowOfOneReturnsTheValuesThemselves) {
  const SequenceLayout layout = make_layout({0, 70, 75}, torch::kCPU, 1);
  const torch::Tensor value = normals({75, 2, 8}, 3);
  EXPECT_LT(largest_difference(
                softmax_attention(normals({75, 2, 8}, 1), normals({75, 2, 8}, 2), value, layout), value),
            1e-14);
}

TEST(AttentionWindow, AWindowThatCutsNothingChangesNoBit) {
  for (const std::vector<int32_t>& borders : kBorders) {
    const SequenceLayout plain = make_layout(borders, torch::kCPU);
    const SequenceLayout covering = make_layout(borders, torch::kCPU, plain.max_seqlen);
    const torch::Tensor ids = token_ids(plain.total(), 1), all = torch::arange(plain.total());
    for (const std::string kind : {"none", "rope", "rope_decay", "rse"}) {
      Encoder encoder = small_encoder(small_config(kind));
      const torch::NoGradGuard no_grad;
      EXPECT_TRUE(torch::equal(encoder(ids, plain, all), encoder(ids, covering, all))) << kind;
    }
  }
}

TEST(AttentionWindow, LowPrecisionsAreClose) {
  for (const auto& [dtype, tolerance] :
       {std::pair{torch::kFloat32, 1e-5}, std::pair{torch::kBFloat16, 0.03}}) {
    const SequenceLayout layout = make_layout({0, 5, 205}, torch::kCPU, 20);
    std::vector<torch::Tensor> low, high;
    for (const int64_t seed : {1, 2, 3}) {
      low.push_back(normals({205, 2, 8}, seed).to(dtype));
      high.push_back(low.back().to(torch::kFloat64));
    }
    const torch::Tensor out = softmax_attention(low[0], low[1], low[2], layout);
    EXPECT_EQ(out.scalar_type(), dtype);
    EXPECT_LT(largest_difference(out, banded_softmax(high, layout)), tolerance);
  }
}

TEST(AttentionWindow, ManyBlocksTakeSeveralCalls) {
  const int64_t length = 1000, sequences = 230;  // more than 2^24 pairs
  std::vector<int32_t> borders;
  for (int64_t s = 0; s <= sequences; ++s) borders.push_back(static_cast<int32_t>(s * length));
  torch::manual_seed(4);
  const torch::Tensor x = torch::randn({length * sequences, 1, 8});
  const torch::Tensor out = softmax_attention(x, x, x, make_layout(borders, torch::kCPU, 8));
  const SequenceLayout alone = make_layout({0, static_cast<int32_t>(length)}, torch::kCPU, 8);
  for (const int64_t s : {int64_t{0}, sequences / 2, sequences - 1}) {
    const torch::Tensor part = x.narrow(0, s * length, length);
    EXPECT_LT(
        largest_difference(out.narrow(0, s * length, length), banded_softmax({part, part, part}, alone)),
        1e-5);
  }
}

TEST(AttentionWindow, RseIsTheReferenceWithThatWindow) {
  ModelConfig config = small_config("rse");
  const auto method = make_position_method(config);
  method->initialize(1);
  AttentionOptions options;
  options.skip_below = 0.0;
  options.backend = Backend::kReference;
  for (const std::vector<int32_t>& borders : kBorders) {
    for (const int64_t window : {1, 9, 80}) {
      const SequenceLayout layout = make_layout(borders, torch::kCPU, window);
      const auto draw = [&](int64_t seed) {
        return normals({layout.total(), 2, 16}, seed).to(torch::kFloat32).requires_grad_();
      };
      const torch::Tensor q = draw(1), k = draw(2), v = draw(3);
      options.window = window;
      const torch::Tensor out = method->attend(0, q, k, v, layout);
      const torch::Tensor expected =
          attention(q, k, v, method->decays()[0], layout.cu_seqlens, layout.max_seqlen, options).out;
      EXPECT_LT(largest_difference(out, expected), 1e-5);
      const auto gradients = torch::autograd::grad({out.square().sum()}, {q, k, v});
      const auto wanted = torch::autograd::grad({expected.square().sum()}, {q, k, v});
      for (size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_LT(largest_difference(gradients[i], wanted[i]), 1e-4);
      }
    }
  }
}

TEST(AttentionWindow, TokensBeyondTheWindowHaveNoInfluence) {
  // One layer sees distances below the window, and two layers see twice as far.
  const int64_t window = 5, length = 60, changed = 30;
  const SequenceLayout layout = make_layout({0, static_cast<int32_t>(length)}, torch::kCPU, window);
  torch::Tensor ids = token_ids(length, 1);
  for (const std::string kind : {"none", "rope", "rope_decay", "rse"}) {
    Encoder encoder = small_encoder(small_config(kind));
    const torch::NoGradGuard no_grad;
    const torch::Tensor all = torch::arange(length), before = encoder(ids, layout, all);
    torch::Tensor other = ids.clone();
    other[changed] = (ids[changed] + 1) % 40;
    const torch::Tensor moved = (encoder(other, layout, all) - before).abs().amax(1);
    for (int64_t i = 0; i < length; ++i) {
      const bool reached = std::abs(i - changed) <= 2 * (window - 1);
      EXPECT_EQ(moved[i].item<float>() > 1e-5f, reached) << kind << ", token " << i;
    }
  }
}

class GpuAttentionWindow : public testing::TestWithParam<torch::ScalarType> {};

TEST_P(GpuAttentionWindow, AgreesWithTheDenseOne) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
  const double tolerance = GetParam() == torch::kFloat32 ? 1e-4 : 0.03;
  for (const std::vector<int32_t>& borders : kBorders) {
    for (const int64_t window : {1, 7, 64, 100}) {
      const SequenceLayout layout = make_layout(borders, torch::kCUDA, window);
      std::vector<torch::Tensor> low, high;
      for (const int64_t seed : {1, 2, 3}) {
        low.push_back(
            normals({layout.total(), 2, 64}, seed).to(GetParam()).to(torch::kCUDA).requires_grad_());
        high.push_back(low.back().detach().to(torch::kCPU, torch::kFloat64).requires_grad_());
      }
      const torch::Tensor out = softmax_attention(low[0], low[1], low[2], layout);
      const torch::Tensor expected = banded_softmax(high, make_layout(borders, torch::kCPU, window));
      EXPECT_LT(largest_difference(out.cpu(), expected), tolerance);
      const auto gradients = torch::autograd::grad({out.square().sum()}, low);
      const auto wanted = torch::autograd::grad({expected.square().sum()}, high);
      for (size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_LT(largest_difference(gradients[i].cpu(), wanted[i]), 10 * tolerance);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, GpuAttentionWindow, testing::Values(torch::kFloat32, torch::kBFloat16));

}  // namespace
}  // namespace rse
