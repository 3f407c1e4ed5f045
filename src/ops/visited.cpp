#include "core/check.h"
#include "ops/operator_call.h"

namespace rse {

double visited_share(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                     const torch::Tensor& decay, const std::optional<torch::Tensor>& cu_seqlens,
                     int64_t max_seqlen, const AttentionOptions& options) {
  const torch::NoGradGuard no_grad;
  const ops::OperatorCall call(cu_seqlens, std::vector<int64_t>(), max_seqlen, options);
  const torch::Tensor extent =
      std::get<2>(ops::call_attention_forward(query, key, value, decay, call, /*save=*/false));
  const int64_t sides = options.causal ? 1 : 2;
  const int64_t rows = extent.numel() / sides;
  torch::Tensor length = torch::full({1}, query.size(1), torch::kFloat64);
  double copies = static_cast<double>(query.size(0) * query.size(2));  // of each document: batch and heads
  if (cu_seqlens) {
    length = cu_seqlens->to(torch::kCPU, torch::kFloat64).diff();
    copies = static_cast<double>(query.size(1));
  }
  const torch::Tensor pairs = options.causal ? length * (length + 1) / 2 : length * length;
  const double all = copies * pairs.sum().item<double>();
  const double visited = extent.sum(torch::kInt64).item<double>() + static_cast<double>(rows);
  return all > 0 ? visited / all : 0.0;
}

}  // namespace rse
