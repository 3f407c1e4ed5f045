#include "nn/softmax_memory.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "nn/biased_attention.h"

namespace rse {
namespace {

constexpr double kFloat = 4;  // bytes

double rounded_up(double value, double step) { return std::ceil(value / step) * step; }

// Sums over the groups of sequences of one length, each of which is one call or more of
// scaled_dot_product_attention.
struct Sums {
  // Something that is kept is a view of what was projected, or of rotated query and key.
  bool projected_stays = false, rotated_stays = false;
  double stacked = 0;      // copies of query, key and value
  double out = 0;          // that the kernels keep
  double normalizers = 0;  // log-sum-exp of each row
  double masks = 0, distances = 0;
  double operands = 0, weights = 0;  // of the unfused path: float32 copies, and the softmax
  double workspace = 0;
  bool copied_out = false;  // the output is copied once more
};

struct Group {
  double length, count;
  double pairs(double heads) const { return heads * length * length; }
};

// LibTorch's kernels for the CPU give a mask no gradient, so that path is composed of products and a softmax in
// float32. bmm takes contiguous operands: query and key scaled, and value where sequences lie side by side.
void add_unfused(const Group& group, double heads, double width, bool wide, Sums& sums) {
  const double matrix = kFloat * group.length * group.count * width;
  const bool value_is_view = wide && group.count == 1;
  sums.projected_stays |= value_is_view;
  sums.operands += (value_is_view ? 2 : 3) * matrix;
  sums.weights += kFloat * group.pairs(heads) * group.count;
  sums.distances += kFloat * group.length * group.length;
  sums.copied_out = true;
  sums.workspace += 2 * kFloat * group.pairs(heads) * group.count;  // gradients of weights and logits
}

void add_biased(const Group& group, const BatchShape& shape, double heads, double width, Sums& sums) {
  const BiasedCalls calls =
      biased_calls(static_cast<int64_t>(group.count), static_cast<int64_t>(group.length),
                   static_cast<int64_t>(heads), shape.device.is_cuda());
  if (calls.whole && shape.device.is_cpu()) {
    return add_unfused(group, heads, width, shape.dtype == torch::kFloat32, sums);
  }
  const double rows = std::min<double>(group.length, static_cast<double>(calls.block_rows));
  const double sequences = std::min<double>(group.count, static_cast<double>(calls.sequences));
  const double mask = shape.element() * heads * rows * rounded_up(group.length, 16);
  const double bias = kFloat * heads * rows * group.length;
  // The gradient of the expanded mask, its sum over sequences, and the bias itself where it is computed again.
  sums.workspace = std::max(sums.workspace, mask * sequences + (calls.whole ? 1 : 2) * bias);
  const double number = std::ceil(group.count / sequences);
  sums.copied_out |= number > 1;
  if (!calls.whole) return;
  sums.masks += number * mask;
  sums.distances += kFloat * group.length * group.length;
  sums.out += shape.element() * group.length * group.count * width;
  sums.normalizers +=
      kFloat * heads * group.count * rounded_up(group.length, shape.device.is_cuda() ? 32 : 1);
}

Sums sums_of(const BatchShape& shape, double heads, double width, bool biased) {
  std::map<int64_t, double> groups;
  for (const int64_t length : shape.lengths) {
    if (length > 0) groups[length] += 1;
  }
  Sums sums;
  const bool one_call = shape.uniform();  // without copies
  sums.copied_out = !one_call;
  for (const auto& [length, count] : groups) {
    const Group group{static_cast<double>(length), count};
    const double before = sums.operands;
    if (biased) {
      add_biased(group, shape, heads, width, sums);
    } else {
      sums.out += shape.element() * group.length * count * width;
      sums.normalizers += kFloat * heads * group.length * count;
    }
    if (sums.operands > before) continue;  // unfused
    if (one_call || count == 1) {
      sums.projected_stays = sums.rotated_stays = true;
    } else {
      sums.stacked += 3 * shape.element() * group.length * count * width;
    }
  }
  return sums;
}

}  // namespace

AttentionMemory softmax_attention_memory(const BatchShape& shape, int64_t heads, int64_t width, bool rotated,
                                         bool biased) {
  const Sums sums = sums_of(shape, static_cast<double>(heads), static_cast<double>(width), biased);
  const double matrix = shape.element() * static_cast<double>(shape.tokens()) * static_cast<double>(width);
  AttentionMemory memory;
  const auto keep = [&](const char* name, double bytes) {
    if (bytes > 0) memory.kept.push_back({name, bytes});
  };
  keep("query, key and value", sums.projected_stays ? 3 * matrix : 0);
  if (rotated) {
    // cos and sin, each for all of head_dim, made once for queries and once for keys.
    const auto positions = static_cast<double>(shape.uniform() ? shape.longest() : shape.tokens());
    keep("rotated query and key", sums.rotated_stays ? 2 * matrix : 0);
    keep("tables of the rotation", 4 * kFloat * positions * static_cast<double>(width / heads));
  }
  keep("query, key and value, stacked by length", sums.stacked);
  keep("operands of the products in float32", sums.operands);
  keep("attention weights", sums.weights);
  keep("attention masks", sums.masks);
  keep("distances", sums.distances);
  keep("attention output", sums.out);
  keep("attention output, put together", sums.copied_out || sums.out == 0 ? matrix : 0);
  keep("normalizers of the softmax", sums.normalizers);
  memory.workspace = sums.workspace;
  // The kernels add up the gradient of the query, the unfused path all three, in float32.
  const double wide = kFloat * static_cast<double>(shape.tokens()) * static_cast<double>(width);
  if (shape.device.is_cuda()) memory.workspace += wide;
  if (sums.operands > 0) memory.workspace += 3 * wide;
  return memory;
}

}  // namespace rse
