#include "nn/softmax_attention.h"

#include <map>
#include <vector>

#include "nn/biased_attention.h"
#include "nn/windowed_attention.h"

namespace rse {
namespace {

// [sequences, length, heads, head_dim] in and out.
torch::Tensor attend_equal_lengths(const torch::Tensor& query, const torch::Tensor& key,
                                   const torch::Tensor& value, const AttentionBiasPtr& bias) {
  if (bias) return biased_attention(query, key, value, bias);
  return at::scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
      .transpose(1, 2);
}

// The sequences `members` out of `pieces`, as one tensor.
torch::Tensor gather(const std::vector<torch::Tensor>& pieces, const std::vector<int64_t>& members) {
  if (members.size() == 1) return pieces[members.front()].unsqueeze(0);
  std::vector<torch::Tensor> chosen;
  for (const int64_t member : members) chosen.push_back(pieces[member]);
  return torch::stack(chosen);
}

}  // namespace

torch::Tensor softmax_attention(const torch::Tensor& query, const torch::Tensor& key,
                                const torch::Tensor& value, const SequenceLayout& layout,
                                const AttentionBiasPtr& bias) {
  if (layout.windowed()) return windowed_attention(query, key, value, layout, bias);
  if (layout.uniform_length > 0) {
    const std::vector<int64_t> shape = {layout.sequences(), layout.uniform_length, query.size(1),
                                        query.size(2)};
    return attend_equal_lengths(query.view(shape), key.view(shape), value.view(shape), bias)
        .reshape(query.sizes());
  }
  std::vector<int64_t> lengths;
  std::map<int64_t, std::vector<int64_t>> members;  // sequences by length
  for (int64_t s = 0; s < layout.sequences(); ++s) {
    lengths.push_back(layout.borders[s + 1] - layout.borders[s]);
    if (lengths.back() > 0) members[lengths.back()].push_back(s);
  }
  // Splitting, not slicing: its gradient is one concatenation instead of a full-sized zero tensor per
  // sequence.
  const auto queries = query.split_with_sizes(lengths);
  const auto keys = key.split_with_sizes(lengths);
  const auto values = value.split_with_sizes(lengths);
  std::vector<torch::Tensor> outputs = queries;  // empty sequences stay as they are
  for (const auto& [length, group] : members) {
    const auto attended =
        attend_equal_lengths(gather(queries, group), gather(keys, group), gather(values, group), bias)
            .unbind(0);
    for (size_t i = 0; i < group.size(); ++i) outputs[group[i]] = attended[i];
  }
  return torch::cat(outputs);
}

}  // namespace rse
