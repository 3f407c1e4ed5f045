#include "nn/position_softmax.h"

#include "nn/initialization.h"
#include "nn/rotary.h"
#include "nn/softmax_attention.h"

namespace rse {

torch::Tensor SoftmaxPosition::attend(int64_t /*layer*/, const torch::Tensor& query, const torch::Tensor& key,
                                      const torch::Tensor& value, const SequenceLayout& layout) {
  return softmax_attention(query, key, value, layout);
}

double SoftmaxPosition::attention_flops(int64_t length) const {
  // Two products (scores, and weights times values), each length^2 * width multiply-adds over all heads.
  return 4.0 * static_cast<double>(length) * static_cast<double>(length) * static_cast<double>(width_);
}

std::string SoftmaxPosition::describe(const torch::Device& /*device*/) const {
  return "softmax (scaled_dot_product_attention)";
}

LearnedPosition::LearnedPosition(const ModelConfig& config)
    : SoftmaxPosition(config), init_(config.position.learned.init), init_std_(config.init_std) {
  table_ = register_parameter("table", torch::zeros({config.position.learned.max_positions, config.width}));
}

torch::Tensor LearnedPosition::embed(const torch::Tensor& hidden, const SequenceLayout& layout) {
  if (layout.uniform_length > 0) {
    // Broadcasting makes the table's gradient one reduction.
    const torch::Tensor rows = table_.narrow(0, 0, layout.uniform_length);
    return (hidden.view({layout.sequences(), layout.uniform_length, -1}) + rows).view_as(hidden);
  }
  return hidden + torch::embedding(table_, layout.positions);
}

void LearnedPosition::initialize(uint64_t seed) {
  torch::NoGradGuard no_grad;
  if (init_ == TableInit::kNormal) {
    fill_normal(table_, parameter_key(seed, "position.table"), init_std_);
  } else {
    table_.copy_(sinusoidal_table(table_.size(0), table_.size(1), init_std_));
  }
}

RopePosition::RopePosition(const ModelConfig& config)
    : SoftmaxPosition(config), head_dim_(config.head_dim()), base_(config.position.rotary_base) {}

torch::Tensor RopePosition::attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                                   const torch::Tensor& value, const SequenceLayout& layout) {
  return SoftmaxPosition::attend(layer, rotate(query, layout, base_), rotate(key, layout, base_), value,
                                 layout);
}

int64_t RopePosition::table_bytes(int64_t length) const {
  return 2 * length * (head_dim_ / 2) * static_cast<int64_t>(sizeof(float));  // cos and sin
}

std::string RopePosition::describe(const torch::Device& device) const {
  return SoftmaxPosition::describe(device) + fmt::format(", rotated (base {})", base_);
}

}  // namespace rse
