#include "nn/mlm_loss.h"

#include <ATen/record_function.h>

#include <algorithm>

#include "core/check.h"
#include "nn/step_ranges.h"

namespace rse {
namespace {

class MaskedLmNll : public torch::autograd::Function<MaskedLmNll> {
 public:
  // nll = logsumexp(logits) - logits[target]
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& logits,
                               const torch::Tensor& target_ids) {
    const auto wide = logits.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
    const int64_t rows = logits.size(0), block = nll_rows_per_block(logits.size(1));
    torch::Tensor normalizer = torch::empty({rows}, logits.options().dtype(wide));
    for (int64_t begin = 0; begin < rows; begin += block) {
      const int64_t count = std::min(block, rows - begin);
      normalizer.narrow(0, begin, count).copy_(torch::logsumexp(logits.narrow(0, begin, count).to(wide), 1));
    }
    context->save_for_backward({logits, target_ids, normalizer});
    return normalizer - logits.gather(1, target_ids.unsqueeze(1)).squeeze(1).to(wide);
  }

  // dlogits = (softmax(logits) - onehot(target)) dnll
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const torch::Tensor &logits = saved[0], &target_ids = saved[1], &normalizer = saved[2];
    const torch::Tensor weight = gradients[0].unsqueeze(1);
    torch::Tensor gradient = torch::empty_like(logits);
    const int64_t rows = logits.size(0), block = nll_rows_per_block(logits.size(1));
    for (int64_t begin = 0; begin < rows; begin += block) {
      const int64_t count = std::min(block, rows - begin);
      const torch::Tensor here = weight.narrow(0, begin, count);
      torch::Tensor part =
          (logits.narrow(0, begin, count) - normalizer.narrow(0, begin, count).unsqueeze(1)).exp_();
      part.mul_(here);
      part.scatter_add_(1, target_ids.narrow(0, begin, count).unsqueeze(1), here.neg());
      gradient.narrow(0, begin, count).copy_(part);
    }
    return {gradient, torch::Tensor()};
  }
};

}  // namespace

int64_t nll_rows_per_block(int64_t vocab) {
  return std::max<int64_t>(1, (int64_t{1} << 25) / std::max<int64_t>(vocab, 1));
}

torch::Tensor masked_lm_nll(const torch::Tensor& logits, const torch::Tensor& target_ids) {
  RSE_ASSERT(logits.dim() == 2 && target_ids.dim() == 1 && logits.size(0) == target_ids.size(0),
             "{} rows of logits for {} targets", logits.size(0), target_ids.numel());
  RECORD_USER_SCOPE(kHeadRange);
  return MaskedLmNll::apply(logits, target_ids);
}

}  // namespace rse
