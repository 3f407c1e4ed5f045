#include "nn/rotary.h"

#include "ops/attention_problem.h"

namespace rse {
namespace {

// cos and signed sin, each [.., 1, head_dim]: row p holds cos(p w_d) twice, and -sin(p w_d), +sin(p w_d).
struct Tables {
  torch::Tensor cos, sin;
};

Tables tables_for(const torch::Tensor& input, const SequenceLayout& layout, double base) {
  const auto dtype = input.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  auto [cos, sin] = ops::rotary_tables(layout.max_seqlen, input.size(-1), base, dtype, input.device());
  cos = cos.narrow(0, 0, layout.max_seqlen);
  sin = sin.narrow(0, 0, layout.max_seqlen);
  if (layout.uniform_length == 0) {
    cos = cos.index_select(0, layout.positions);
    sin = sin.index_select(0, layout.positions);
  }
  return {torch::cat({cos, cos}, -1).unsqueeze(1), torch::cat({-sin, sin}, -1).unsqueeze(1)};
}

// x cos + swap_halves(x) sin: three kernels, the wide dtype never kept.
torch::Tensor rotated(const torch::Tensor& input, const torch::Tensor& cos, const torch::Tensor& sin) {
  const torch::Tensor swapped = torch::roll(input, input.size(-1) / 2, -1);
  torch::Tensor output = torch::empty(input.sizes(), input.options());
  return at::addcmul_out(output, input * cos, swapped, sin);
}

class Rotation : public torch::autograd::Function<Rotation> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& input,
                               const torch::Tensor& cos, const torch::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotated(input, cos, sin);
  }
  // A rotation's transpose is the rotation back.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {rotated(gradients[0], saved[0], saved[1].neg()), torch::Tensor(), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor rotate(const torch::Tensor& input, const SequenceLayout& layout, double base) {
  if (layout.total() == 0) return input;
  const Tables tables = tables_for(input, layout, base);
  if (layout.uniform_length == 0) return Rotation::apply(input, tables.cos, tables.sin);
  const torch::Tensor rows =
      input.view({layout.sequences(), layout.uniform_length, input.size(1), input.size(2)});
  return Rotation::apply(rows, tables.cos, tables.sin).view(input.sizes());
}

int64_t rotary_table_bytes(int64_t length, int64_t head_dim) {
  return 2 * length * (head_dim / 2) * static_cast<int64_t>(sizeof(float));
}

}  // namespace rse
