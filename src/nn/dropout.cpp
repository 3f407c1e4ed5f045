#include "nn/dropout.h"

#include <algorithm>

#include "core/check.h"
#include "core/random.h"
#include "ops/parallel.h"

namespace rse {
namespace {

constexpr int64_t kDrawsPerCall = 4;  // uniforms of one random_bits()
constexpr int64_t kGrain = 1 << 12;   // random_bits() calls per thread at least

// Counter-based: element i takes draw i of the stream, so the mask does not depend on the number of threads.
torch::Tensor keep_mask_cpu(at::IntArrayRef sizes, double rate, uint64_t stream) {
  torch::Tensor mask = torch::empty(sizes, torch::kBool);
  bool* keep = mask.data_ptr<bool>();
  const int64_t count = mask.numel();
  parallel_for(0, (count + kDrawsPerCall - 1) / kDrawsPerCall, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t call = begin; call < end; ++call) {
      const auto bits = random_bits(stream, static_cast<uint64_t>(call));
      const int64_t first = call * kDrawsPerCall;
      const int64_t draws = std::min(kDrawsPerCall, count - first);
      for (int64_t i = 0; i < draws; ++i) keep[first + i] = uniform01(bits[i]) >= rate;
    }
  });
  return mask;
}

// A generator made for this one call; cloning the device's default one is the way to make one without CUDA
// headers.
torch::Tensor keep_mask_device(at::IntArrayRef sizes, double rate, uint64_t stream,
                               const torch::Device& device) {
  at::Generator generator = at::globalContext().defaultGenerator(device).clone();
  generator.set_current_seed(stream);
  return torch::empty(sizes, torch::TensorOptions().dtype(torch::kBool).device(device))
      .bernoulli_(1.0 - rate, generator);
}

// LibTorch's fused input * mask * scale. It is its own gradient; LibTorch's one would keep `input` too.
class MaskedScale : public torch::autograd::Function<MaskedScale> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& input,
                               const torch::Tensor& mask, double scale) {
    context->save_for_backward({mask});
    context->saved_data["scale"] = scale;
    return at::native_dropout_backward(input, mask, scale);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const torch::Tensor mask = context->get_saved_variables()[0];
    const double scale = context->saved_data["scale"].toDouble();
    return {at::native_dropout_backward(gradients[0], mask, scale), torch::Tensor(), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor dropout(const torch::Tensor& input, double rate, const std::optional<DropoutKey>& key,
                      int64_t layer, DropoutSite site) {
  RSE_ASSERT(rate >= 0.0 && rate < 1.0, "dropout rate {}", rate);
  if (!key || rate == 0.0) return input;
  const uint64_t place = mix_key(static_cast<uint64_t>(layer), static_cast<uint64_t>(site));
  const uint64_t stream = mix_key(mix_key(key->seed, "dropout"), key->micro_batch, place);
  const torch::Tensor mask = input.is_cpu() ? keep_mask_cpu(input.sizes(), rate, stream)
                                            : keep_mask_device(input.sizes(), rate, stream, input.device());
  return MaskedScale::apply(input, mask, 1.0 / (1.0 - rate));
}

}  // namespace rse
