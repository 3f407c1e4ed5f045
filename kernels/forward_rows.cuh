// What forward does with the rows of a block before and after their walks: the sticks' lengths, and the
// epilogue (the self key's value, what is left of each stick, how far each side was walked).
#pragma once

#include "kernels/self_key.cuh"
#include "kernels/thread_keys.cuh"
#include "kernels/walk.cuh"

namespace rse::kernels {

// Stores what a row's walk of one side ended with. row: in [batch * heads, seq]; rem: what is left of the
// stick; extent: the number of keys walked, counted from the row.
template <bool kLeft>
__device__ inline void store_side_end(const ForwardOutputs& outputs, int64_t row, int sides, float rem,
                                      int extent) {
  const int64_t at = row * sides + (kLeft ? 0 : 1);
  outputs.rem[at] = rem;
  outputs.extent[at] = max(0, extent);
}

// The two rows of a thread of the tensor-core paths, from start() to finish().
struct ForwardRows {
  const ForwardArguments& arguments;
  int64_t base;  // the document's first row in [batch * heads, seq]
  RowBlock at;
  int first_row;                   // the thread's, in the document; its other row is 8 further
  float self_weight[2], start[2];  // beta_ii; the length of each stick, 0 past the document's end
  float rem[2][2] = {};            // [row][side]

  __device__ ForwardRows(const ForwardArguments& arguments, int64_t base, const RowBlock& at, int first_row)
      : arguments(arguments), base(base), at(at), first_row(first_row) {
    const AttentionParams& p = arguments.params;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const SelfKey self =
          break_self_key(inside(h) ? arguments.prepared.self_logit[base + row(h)] : 0.f, p.self_key);
      self_weight[h] = self.beta;
      start[h] = inside(h) ? stick_start(self, p.shared, p.causal) : 0.f;
    }
  }

  __device__ int row(int h) const { return first_row + 8 * h; }
  __device__ bool inside(int h) const { return row(h) < at.length; }

  // Stores everything. left_key, right_key: the last key that each side walked. value(h, d) and sum(h, d):
  // columns 8 d + 2 quad_lane and the next of the row's own value and of its sum over the sides.
  template <typename Element, int D, typename Value, typename Sum>
  __device__ void finish(int head_index, int left_key, int right_key, Value value, Sum sum) const {
    const AttentionParams& p = arguments.params;
    const Strided& out = arguments.outputs.out;
    const int sides = p.causal ? 1 : 2;
    Element* result = static_cast<Element*>(out.data) + (head_index / p.heads) * out.batch +
                      head_index % p.heads * out.head;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!inside(h)) continue;
      if (quad_lane() == 0) {
        store_side_end<true>(arguments.outputs, base + row(h), sides, rem[h][0], row(h) - left_key);
        if (!p.causal)
          store_side_end<false>(arguments.outputs, base + row(h), sides, rem[h][1], right_key - row(h));
      }
      const float weight = self_weight[h] + (p.remainder_self ? rem[h][0] + rem[h][1] : 0.f);
      Element* to = result + (at.begin + row(h)) * out.token + 2 * quad_lane();
#pragma unroll
      for (int d = 0; d < D / 8; ++d) {
        if (8 * d >= p.head_dim) continue;
        const float2 v = unpack<Element>(value(h, d)), s = sum(h, d);
        *reinterpret_cast<uint32_t*>(to + 8 * d) =
            pack<Element>(fmaf(weight, v.x, s.x), fmaf(weight, v.y, s.y));
      }
    }
  }
};

}  // namespace rse::kernels
