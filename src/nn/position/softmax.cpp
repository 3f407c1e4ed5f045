#include "nn/position/softmax.h"

#include "nn/softmax_attention.h"
#include "nn/softmax_memory.h"

namespace rse {

torch::Tensor SoftmaxPosition::attend(int64_t /*layer*/, const torch::Tensor& query, const torch::Tensor& key,
                                      const torch::Tensor& value, const SequenceLayout& layout) {
  return softmax_attention(query, key, value, layout);
}

double SoftmaxPosition::attention_flops(int64_t length) const { return all_pairs_flops(length, width_); }

AttentionMemory SoftmaxPosition::memory(const BatchShape& shape) const {
  return softmax_attention_memory(shape, heads_, width_, /*rotated=*/false, /*biased=*/false);
}

std::string SoftmaxPosition::describe(const torch::Device& /*device*/) const {
  return "softmax (scaled_dot_product_attention)";
}

}  // namespace rse
