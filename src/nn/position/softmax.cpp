#include "nn/position/softmax.h"

#include <algorithm>

#include "core/check.h"
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
    : SoftmaxPosition(config),
      init_(config.position.learned.init),
      beyond_(config.position.learned.beyond),
      init_std_(config.init_std),
      rows_(config.position.learned.max_positions) {
  if (const int64_t trained = config.position.learned.trained_positions; trained > 0) {
    rows_ = std::min(rows_, trained);
  }
  table_ = register_parameter("table", torch::zeros({config.position.learned.max_positions, config.width}));
}

torch::Tensor LearnedPosition::embed(const torch::Tensor& hidden, const SequenceLayout& layout) {
  const bool fits = layout.max_seqlen <= rows_;
  if (const int64_t length = layout.uniform_length; length > 0) {
    // Broadcasting makes the table's gradient one reduction.
    const torch::Tensor rows = fits ? table_.narrow(0, 0, length)
                                    : rows_at(layout.positions.narrow(0, 0, length),
                                              torch::full({}, length, layout.positions.options()));
    return (hidden.view({layout.sequences(), length, -1}) + rows).view_as(hidden);
  }
  if (fits) return hidden + torch::embedding(table_, layout.positions);
  const torch::Tensor lengths = layout.cu_seqlens.diff().to(torch::kInt64);
  return hidden + rows_at(layout.positions, at::repeat_interleave(lengths, lengths, 0, layout.total()));
}

torch::Tensor LearnedPosition::rows_at(const torch::Tensor& positions, const torch::Tensor& lengths) const {
  const int64_t rows = rows_;
  switch (beyond_) {
    case BeyondTable::kError:
      break;
    case BeyondTable::kClamp:
      return torch::embedding(table_, positions.clamp_max(rows - 1));
    case BeyondTable::kTile:
      return torch::embedding(table_, positions.remainder(rows));
    case BeyondTable::kInterpolate: {
      const torch::Tensor longer = lengths > rows;
      const torch::Tensor one = torch::ones_like(lengths);
      const torch::Tensor place = positions.to(torch::kFloat64) *
                                  torch::where(longer, (rows - 1) * one, one) /
                                  torch::where(longer, lengths - 1, one);
      const torch::Tensor below = place.floor().to(torch::kInt64);
      const torch::Tensor share = (place - below).to(table_.scalar_type()).unsqueeze(-1);
      return torch::lerp(torch::embedding(table_, below),
                         torch::embedding(table_, (below + 1).clamp_max(rows - 1)), share);
    }
  }
  RSE_ASSERT(false, "a sequence beyond the table of {} rows", rows);
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
