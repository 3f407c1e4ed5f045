#include "nn/biased_attention.h"

#include <algorithm>
#include <vector>

namespace rse {
namespace {

using torch::Tensor;

constexpr int64_t kPairsCuda = int64_t{1} << 26;  // 128 MiB in bfloat16
constexpr int64_t kPairsCpu = int64_t{1} << 22;
constexpr int64_t kFewestRows = 64;  // queries of one call
// CUDA kernels want rows of the mask aligned to this many elements.
constexpr int64_t kAlignment = 16;

// [heads, queries, keys] of a bias to the mask of so many sequences, in another dtype. The sum over sequences
// in the backward pass is taken in the bias's own, wider dtype.
class SharedMask : public torch::autograd::Function<SharedMask> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& bias, int64_t sequences,
                        torch::ScalarType dtype) {
    context->saved_data["dtype"] = bias.scalar_type();
    const int64_t keys = bias.size(2), stride = (keys + kAlignment - 1) / kAlignment * kAlignment;
    const Tensor mask =
        torch::empty({bias.size(0), bias.size(1), stride}, bias.options().dtype(dtype)).narrow(2, 0, keys);
    mask.copy_(bias);
    return mask.unsqueeze(0).expand({sequences, -1, -1, -1});
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    return {gradients[0].sum(0, /*keepdim=*/false, context->saved_data["dtype"].toScalarType()), Tensor(),
            Tensor()};
  }
};

// query: [sequences, queries, heads, head_dim]; key and value with all keys; bias: [heads, queries, keys].
Tensor attend(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& bias) {
  const Tensor mask = SharedMask::apply(bias, query.size(0), query.scalar_type());
  return at::scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2),
                                          mask)
      .transpose(1, 2);
}

// The bias of queries [row, row + rows) and all keys of sequences of `length`.
Tensor bias_rows(const AttentionBias& bias, const Tensor& parameter, const Tensor& query, int64_t row,
                 int64_t rows) {
  const Tensor positions = torch::arange(query.size(1), query.options().dtype(torch::kInt64));
  return bias.block(parameter, positions.narrow(0, row, rows), positions);
}

// Blocks of queries, one after another; backward computes each again with its gradients.
class InBlocks : public torch::autograd::Function<InBlocks> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& query, const Tensor& key,
                        const Tensor& value, const Tensor& parameter, const AttentionBiasPtr& bias,
                        int64_t block_rows) {
    context->save_for_backward({query, key, value, parameter});
    context->saved_data["bias"] = c10::IValue::make_capsule(bias);
    context->saved_data["block_rows"] = block_rows;
    Tensor output = torch::empty(query.sizes(), query.options());
    for (int64_t row = 0; row < query.size(1); row += block_rows) {
      const int64_t rows = std::min(block_rows, query.size(1) - row);
      const Tensor block = bias_rows(*bias, parameter, query, row, rows);
      output.narrow(1, row, rows).copy_(attend(query.narrow(1, row, rows), key, value, block));
    }
    return output;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto bias =
        c10::static_intrusive_pointer_cast<AttentionBias>(context->saved_data["bias"].toCapsule());
    const int64_t block_rows = context->saved_data["block_rows"].toInt();
    std::vector<Tensor> sums(saved.size());  // of key, value and parameter, over the blocks
    Tensor query_gradient = torch::empty(saved[0].sizes(), saved[0].options());
    for (int64_t row = 0; row < saved[0].size(1); row += block_rows) {
      const int64_t rows = std::min(block_rows, saved[0].size(1) - row);
      std::vector<Tensor> leaves = {saved[0].narrow(1, row, rows), saved[1], saved[2], saved[3]};
      for (Tensor& leaf : leaves) leaf = leaf.detach().requires_grad_();
      const torch::AutoGradMode enabled(true);
      const Tensor block = bias_rows(*bias, leaves[3], saved[0], row, rows);
      const Tensor output = attend(leaves[0], leaves[1], leaves[2], block);
      const auto parts =
          torch::autograd::grad({output}, leaves, {gradients[0].narrow(1, row, rows)}, std::nullopt,
                                /*create_graph=*/false, /*allow_unused=*/true);
      query_gradient.narrow(1, row, rows).copy_(parts[0]);
      for (size_t n = 1; n < parts.size(); ++n) {
        if (!parts[n].defined()) continue;  // a bias without a parameter
        const auto wide = parts[n].scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
        sums[n] = sums[n].defined() ? sums[n].add_(parts[n]) : parts[n].to(wide, false, /*copy=*/true);
      }
    }
    for (size_t n = 1; n < sums.size(); ++n) {
      if (sums[n].defined()) sums[n] = sums[n].to(saved[n].scalar_type());
    }
    return {query_gradient, sums[1], sums[2], sums[3], Tensor(), Tensor()};
  }
};

}  // namespace

BiasedCalls biased_calls(int64_t sequences, int64_t length, int64_t heads, bool cuda, int64_t pairs) {
  if (pairs == 0) pairs = cuda ? kPairsCuda : kPairsCpu;
  const int64_t block_rows = std::max(kFewestRows, pairs / (heads * length) / kFewestRows * kFewestRows);
  const int64_t per_call = std::max<int64_t>(1, pairs / (heads * length * std::min(length, block_rows)));
  return {block_rows >= length, block_rows, std::min(sequences, per_call)};
}

Tensor biased_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                        const AttentionBiasPtr& bias, int64_t pairs) {
  const int64_t sequences = query.size(0), length = query.size(1), heads = query.size(2);
  const auto [whole, block_rows, sequences_per_call] =
      biased_calls(sequences, length, heads, query.is_cuda(), pairs);
  Tensor parameter = bias->parameter();
  if (!parameter.defined())
    parameter = torch::empty({0}, query.options());  // autograd takes no undefined one
  const Tensor block = whole ? bias_rows(*bias, parameter, query, 0, length) : Tensor();
  std::vector<Tensor> outputs;
  for (int64_t first = 0; first < sequences; first += sequences_per_call) {
    const int64_t count = std::min(sequences_per_call, sequences - first);
    const Tensor q = query.narrow(0, first, count), k = key.narrow(0, first, count),
                 v = value.narrow(0, first, count);
    outputs.push_back(whole ? attend(q, k, v, block) : InBlocks::apply(q, k, v, parameter, bias, block_rows));
  }
  return outputs.size() == 1 ? outputs.front() : torch::cat(outputs);
}

}  // namespace rse
