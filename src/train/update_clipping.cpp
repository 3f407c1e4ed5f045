#include "train/update_clipping.h"

#include <cmath>

namespace rse {

std::vector<torch::Tensor> clipped_rates(const std::vector<torch::Tensor>& grads,
                                         const std::vector<torch::Tensor>& exp_avg_sq,
                                         const torch::Tensor& step, double rate, double beta2, double eps) {
  // In float64, because 1 - 0.98^t loses digits in float32.
  const torch::Tensor correction = (1.0 - torch::pow(beta2, step.to(torch::kFloat64))).to(torch::kFloat32);
  std::vector<torch::Tensor> ratio = at::_foreach_mul(exp_avg_sq, beta2);
  at::_foreach_addcmul_(ratio, grads, grads, 1.0 - beta2);
  at::_foreach_div_(ratio, correction);
  at::_foreach_sqrt_(ratio);
  at::_foreach_clamp_min_(ratio, eps);  // sqrt(max(v, eps^2)), of which eps^2 may be below float32's range
  at::_foreach_reciprocal_(ratio);
  at::_foreach_mul_(ratio, grads);
  std::vector<torch::Tensor> rms = at::_foreach_norm(ratio);
  std::vector<at::Scalar> root_of_size;
  for (const torch::Tensor& tensor : ratio)
    root_of_size.emplace_back(std::sqrt(static_cast<double>(tensor.numel())));
  at::_foreach_div_(rms, root_of_size);
  return (rate / torch::stack(rms).clamp_min(1.0)).unbind();
}

}  // namespace rse
