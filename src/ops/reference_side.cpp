#include "ops/reference_side.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace rse::ops {
namespace {

using torch::Tensor;

// The number of pairs in one tensor; about five such tensors live at once. It is small enough for a CPU's
// cache and large enough to fill a GPU.
constexpr int64_t kPairsCpu = int64_t{1} << 19;
constexpr int64_t kPairsCuda = int64_t{1} << 25;
// More rows per chunk mean more pairs that are computed and masked, fewer mean smaller matrix products.
constexpr int64_t kRows = 128;

// Queries [row, row + rows) of sequences [sequence, sequence + sequences), and all keys that any of them may
// see.
struct Chunk {
  int64_t sequence, sequences;
  int64_t row, rows;
  int64_t key, keys;

  Tensor of_rows(const Tensor& x) const { return x.narrow(0, sequence, sequences).narrow(1, row, rows); }
  Tensor of_keys(const Tensor& x) const { return x.narrow(0, sequence, sequences).narrow(1, key, keys); }
  Tensor of_sequences(const Tensor& x) const { return x.narrow(0, sequence, sequences); }
};

std::vector<Chunk> split_into_chunks(const SideInput& in) {
  const int64_t sequences = in.query.size(0), length = in.query.size(1);
  const int64_t reach = in.window > 0 ? std::min(in.window, length) : length;
  const int64_t budget = in.query.is_cuda() ? kPairsCuda : kPairsCpu;
  const int64_t rows_per_chunk = std::clamp(budget / std::max<int64_t>(reach, 1), int64_t{1}, kRows);
  std::vector<Chunk> chunks;
  // The last query has no key after it.
  for (int64_t row = 0; row + 1 < length; row += rows_per_chunk) {
    const int64_t rows = std::min(rows_per_chunk, length - row);
    const int64_t keys = std::min(length, row + rows - 1 + reach) - (row + 1);
    if (keys <= 0) break;
    const int64_t step = std::max<int64_t>(budget / (rows * keys), 1);
    for (int64_t sequence = 0; sequence < sequences; sequence += step) {
      chunks.push_back({sequence, std::min(step, sequences - sequence), row, rows, row + 1, keys});
    }
  }
  return chunks;
}

struct BrokenSticks {
  Tensor distance;  // j - i, [rows, keys]
  Tensor beta;      // [S, rows, keys]; 0 for keys that take no part
  Tensor rest;      // [S, rows, keys]: 1 - beta; undefined unless asked for
  Tensor stick;     // [S, rows, keys]: product of (1 - beta) over all keys up to and with this one
};

// x of keys that take no part becomes -inf: beta = 0 and 1 - beta = 1, the stick stays unbroken.
void mask_negated_logits(const SideInput& in, const Chunk& chunk, const Tensor& distance, Tensor& negated) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  // Keys at or before the query: only among the first rows - 1 keys.
  const int64_t near = std::min(chunk.rows - 1, chunk.keys);
  negated.narrow(2, 0, near).masked_fill_(distance.narrow(1, 0, near) < 1, kInfinity);
  // Keys outside the window: the first query of the chunk sees window - 1 keys.
  const int64_t inside = in.window - 1;
  if (in.window > 0 && inside < chunk.keys) {
    negated.narrow(2, inside, chunk.keys - inside)
        .masked_fill_(distance.narrow(1, inside, chunk.keys - inside) >= in.window, kInfinity);
  }
}

BrokenSticks break_sticks(const SideInput& in, const Chunk& chunk, bool with_rest) {
  const auto options = in.query.options();
  const Tensor distance = torch::arange(chunk.key, chunk.key + chunk.keys, options).unsqueeze(0) -
                          torch::arange(chunk.row, chunk.row + chunk.rows, options).unsqueeze(1);
  // -x = -s + lambda |i - j|. Negated, because 1 - beta = sigmoid(-x) then comes without another tensor of
  // pairs; beta is not formed as 1 - (1 - beta), which would lose the digits of a small beta.
  Tensor negated = torch::bmm(chunk.of_rows(in.query), chunk.of_keys(in.key).transpose(1, 2));
  negated.addcmul_(chunk.of_sequences(in.decay).view({-1, 1, 1}), distance);
  mask_negated_logits(in, chunk, distance, negated);
  Tensor stick = torch::sigmoid(negated), rest = with_rest ? stick.clone() : Tensor();
  stick.cumprod_(2);
  return {distance, negated.neg_().sigmoid_(), rest, stick};
}

// A / r: beta times the stick as the key finds it, which for the nearest key is 1. `weight` may be beta
// itself.
void break_off(const BrokenSticks& sticks, Tensor& weight) {
  const int64_t farther = sticks.beta.size(2) - 1;
  if (!weight.is_same(sticks.beta)) weight.select(2, 0).copy_(sticks.beta.select(2, 0));
  Tensor rest = weight.narrow(2, 1, farther);
  torch::mul_out(rest, sticks.beta.narrow(2, 1, farther), sticks.stick.narrow(2, 0, farther));
}

// Sums over this key and all farther ones, and end_term [S, rows]. They are formed from the far end, because
// a total minus a prefix would cancel where little is left.
Tensor sums_from_far_end(const Tensor& t, const Tensor& end_term) {
  Tensor far_first = t.flip(2);
  far_first.select(2, 0).add_(end_term);
  return far_first.cumsum_(2).flip(2);
}

}  // namespace

SideOutput side_forward(const SideInput& in) {
  SideOutput result{torch::zeros_like(in.value),
                    torch::ones({in.query.size(0), in.query.size(1)}, in.query.options())};
  for (const Chunk& chunk : split_into_chunks(in)) {
    BrokenSticks sticks = break_sticks(in, chunk, /*with_rest=*/false);
    chunk.of_rows(result.stick).copy_(sticks.stick.select(2, chunk.keys - 1));
    break_off(sticks, sticks.beta);
    chunk.of_rows(result.out).copy_(torch::bmm(sticks.beta, chunk.of_keys(in.value)));
  }
  return result;
}

// The gradients of src/ops/README.md section 3, for i != j.
SideGradients side_backward(const SideInput& in, const Tensor& grad_out, const Tensor& end_term) {
  SideGradients grad{torch::zeros_like(in.query), torch::zeros_like(in.key), torch::zeros_like(in.value),
                     torch::zeros_like(in.decay), end_term.clone()};
  for (const Chunk& chunk : split_into_chunks(in)) {
    const BrokenSticks sticks = break_sticks(in, chunk, /*with_rest=*/true);
    Tensor weight = torch::empty_like(sticks.beta);
    break_off(sticks, weight);
    const Tensor rows_grad_out = chunk.of_rows(grad_out);
    chunk.of_keys(grad.value).baddbmm_(weight.transpose(1, 2), rows_grad_out);

    // t in the place of the weights, then dx = t (1 - beta) - beta T in the place of 1 - beta. The other form,
    // t - beta (t + T), loses the digits of 1 - beta where beta is near 1.
    const Tensor t = weight.mul_(torch::bmm(rows_grad_out, chunk.of_keys(in.value).transpose(1, 2)));
    const Tensor end = chunk.of_rows(end_term), sums = sums_from_far_end(t, end);
    chunk.of_rows(grad.total).copy_(sums.select(2, 0));
    const int64_t farther = chunk.keys - 1;
    Tensor grad_logit = sticks.rest;
    grad_logit.mul_(t);
    grad_logit.narrow(2, 0, farther)
        .addcmul_(sticks.beta.narrow(2, 0, farther), sums.narrow(2, 1, farther), -1);
    grad_logit.select(2, farther).addcmul_(sticks.beta.select(2, farther), end, -1);

    chunk.of_rows(grad.query).copy_(torch::bmm(grad_logit, chunk.of_keys(in.key)));
    chunk.of_keys(grad.key).baddbmm_(grad_logit.transpose(1, 2), chunk.of_rows(in.query), 1, -1);
    chunk.of_sequences(grad.decay).sub_(grad_logit.mul_(sticks.distance).sum(at::IntArrayRef{1, 2}));
  }
  return grad;
}

}  // namespace rse::ops
