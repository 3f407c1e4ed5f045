#include "nn/windowed_attention.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "core/check.h"

namespace rse {
namespace {

using torch::Tensor;

// Queries per block. Fewer mean fewer pairs that are computed and masked, more mean larger matrix products.
constexpr int64_t kFewestRows = 64;
constexpr int64_t kMostRows = 512;
// CUDA kernels want rows of the mask aligned to this many elements.
constexpr int64_t kAlignment = 16;
// Elements of the mask of one call, which also holds it as floats.
constexpr int64_t kMaskElements = int64_t{1} << 24;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// How the sequences are cut into blocks of `rows` queries, each against `keys` keys that begin `reach` tokens
// before its first query. All tensors int64 on the device.
struct BlockPlan {
  int64_t reach, rows, keys;
  int64_t blocks = 0;
  Tensor first;         // [blocks], token index of a block's first query
  Tensor begin, end;    // [blocks], borders of its sequence
  Tensor row_of_token;  // [total], where the blocks' rows, one after another, hold a token

  explicit BlockPlan(const SequenceLayout& layout)
      : reach(layout.attention_window - 1),
        rows(std::min(std::clamp(round_up(layout.attention_window, kAlignment), kFewestRows, kMostRows),
                      round_up(layout.max_seqlen, kAlignment))),
        keys(round_up(rows + 2 * reach, kAlignment)) {
    const int64_t sequences = layout.sequences();
    for (int64_t s = 0; s < sequences; ++s) {
      blocks += (layout.borders[s + 1] - layout.borders[s] + rows - 1) / rows;
    }
    const Tensor borders = layout.cu_seqlens.to(torch::kInt64);
    const Tensor begins = borders.narrow(0, 0, sequences), ends = borders.narrow(0, 1, sequences);
    const Tensor counts = (ends - begins + (rows - 1)).floor_divide(rows);
    const Tensor first_block = counts.cumsum(0) - counts;
    const Tensor sequence = at::repeat_interleave(counts, std::optional<int64_t>(blocks));  // of each block
    begin = begins.index_select(0, sequence);
    end = ends.index_select(0, sequence);
    const Tensor block = torch::arange(blocks, borders.options()) - first_block.index_select(0, sequence);
    first = begin + block * rows;
    row_of_token =
        layout.positions + at::repeat_interleave(first_block * rows, ends - begins, 0, layout.total());
  }
};

// Blocks [from, from + count), their heads side by side: [count * rows, heads, head_dim].
Tensor attend_blocks(const BlockPlan& plan, int64_t from, int64_t count, const Tensor& query,
                     const Tensor& key, const Tensor& value, const AttentionBiasPtr& bias) {
  const auto options = plan.first.options();
  const Tensor row = torch::arange(plan.rows, options), column = torch::arange(plan.keys, options);
  const Tensor first = plan.first.narrow(0, from, count).unsqueeze(1);
  const Tensor begin = plan.begin.narrow(0, from, count).unsqueeze(1);
  const Tensor end = plan.end.narrow(0, from, count).unsqueeze(1);
  const Tensor query_index = first + row, key_index = first - plan.reach + column;

  // Rows beyond their sequence are thrown away; they see keys all the same, as a softmax over none is NaN.
  const Tensor ahead = column - row.unsqueeze(1);  // key minus query, plus reach
  const Tensor band = (ahead >= 0).logical_and_(ahead <= 2 * plan.reach);
  const Tensor inside = (key_index >= begin).logical_and_(key_index < end).unsqueeze(1);
  const Tensor seen = inside.logical_or((query_index >= end).unsqueeze(2)).logical_and_(band).unsqueeze(1);
  Tensor mask = seen;  // [blocks, heads or 1, rows, keys]
  if (bias) {
    const Tensor added = bias->block(bias->parameter(), query_index - begin, key_index - begin);
    mask = added.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity())
               .to(query.scalar_type());
  }

  const auto gather = [&](const Tensor& x, const Tensor& index) {
    const Tensor tokens = x.index_select(0, index.clamp(0, x.size(0) - 1).flatten());
    return tokens.view({count, index.size(1), x.size(1), x.size(2)}).transpose(1, 2);
  };
  return at::scaled_dot_product_attention(gather(query, query_index), gather(key, key_index),
                                          gather(value, key_index), mask)
      .transpose(1, 2)
      .reshape({count * plan.rows, query.size(1), query.size(2)});
}

}  // namespace

Tensor windowed_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                          const SequenceLayout& layout, const AttentionBiasPtr& bias) {
  RSE_ASSERT(layout.windowed(), "a window of {} for sequences of up to {}", layout.attention_window,
             layout.max_seqlen);
  const BlockPlan plan(layout);
  const Tensor packed_query = query.contiguous(), packed_key = key.contiguous(),
               packed_value = value.contiguous();
  const int64_t masks = bias ? query.size(1) : 1;  // per block
  const int64_t blocks_per_call = std::max<int64_t>(1, kMaskElements / (masks * plan.rows * plan.keys));
  std::vector<Tensor> rows;
  for (int64_t from = 0; from < plan.blocks; from += blocks_per_call) {
    rows.push_back(attend_blocks(plan, from, std::min(blocks_per_call, plan.blocks - from), packed_query,
                                 packed_key, packed_value, bias));
  }
  return torch::cat(rows).index_select(0, plan.row_of_token);
}

}  // namespace rse
