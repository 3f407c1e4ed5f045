// What the element-wise passes (prepare.cu, finish.cu) share: which rows a thread block takes, and how they
// are read and written.
#pragma once

#include "kernels/float16_scales.cuh"
#include "kernels/hopper/tiled_layout.h"
#include "kernels/thread_keys.cuh"

namespace rse::kernels {

// A thread block takes kKeys rows of one head, kAtOnce at a time. kGroup lanes share a row; lane g of them
// holds columns 4 g to 4 g + 3 and half + 4 g to half + 4 g + 3 (half = head_dim / 2), which are the pairs
// that rotation mixes.
template <int D>
struct RowLanes {
  static constexpr int kGroup = D / 8, kAtOnce = kPassThreads / kGroup;
};

// kVector: `from` is aligned to 4 elements.
template <typename Element, bool kVector>
__device__ inline void load4(const Element* from, float (&x)[4]) {
  if constexpr (kVector && sizeof(Element) == 2) {
    const uint2 raw = *reinterpret_cast<const uint2*>(from);
    const Element* values = reinterpret_cast<const Element*>(&raw);
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = to_float(values[i]);
  } else if constexpr (kVector) {
    const float4 raw = *reinterpret_cast<const float4*>(from);
    x[0] = raw.x, x[1] = raw.y, x[2] = raw.z, x[3] = raw.w;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = to_float(from[i]);
  }
}

template <typename Element>
__device__ inline void store4(Element* to, const float (&x)[4]) {  // aligned to 4 elements
  if constexpr (sizeof(Element) == 2) {
    Element values[4] = {from_float<Element>(x[0]), from_float<Element>(x[1]), from_float<Element>(x[2]),
                         from_float<Element>(x[3])};
    *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(values);
  } else {
    *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
  }
}

// Saturates four numbers (finite()): a prepared query may leave the range of float16 where key and query are
// so large that their logits exceed 1e8.
template <typename Element>
__device__ inline void saturate(float (&x)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = finite<Element>(x[i]);
}

// The sum over the lanes that share a row, in each of them.
template <int kGroup>
__device__ inline float group_sum(float x) {
#pragma unroll
  for (int mask = kGroup / 2; mask > 0; mask /= 2) x += __shfl_xor_sync(~0u, x, mask);
  return x;
}

// One row of the pass.
struct RowIndex {
  int64_t batch, head_index, row;  // row in [batch * heads, seq]
  int64_t prepared;  // its number in the prepared matrices; tiled: in [batch * heads, blocks * kRows]
  int head, token, document, position;  // position: of the token in its document
  bool inside;                          // the prepared matrices have this row
  bool valid;                           // it is a token of a document
};

// The rows of the index-th thread block. Heads run fastest, so that neighbours in memory are read at about
// the same time. A pass over what an attention kernel has just left goes the other way, from the last rows,
// which the L2 cache still holds, to the first.
template <bool kTiled>
class RowsOfBlock {
 public:
  __device__ RowsOfBlock(const AttentionParams& p, const Documents& docs, unsigned index) : docs_(docs) {
    rows_ = kTiled ? docs.blocks() * kRows : docs.seq;
    tiles_ = (rows_ + kKeys - 1) / kKeys;
    const unsigned heads = p.heads, rest = index / heads;
    base_.head = static_cast<int>(index % heads);
    tile_ = static_cast<int>(rest % tiles_);
    base_.batch = rest / tiles_;
    base_.head_index = base_.batch * heads + base_.head;
    if constexpr (kTiled) {
      const RowBlock block = row_block(docs, tile_ / 2);
      base_.document =
          last_not_after(docs.documents, tile_ / 2, [&](int d) { return docs.begin(d) / kRows + d; });
      begin_ = block.begin;
      first_ = block.row + tile_ % 2 * kKeys;
      length_ = block.length;
    }
  }

  __device__ int head_index() const { return static_cast<int>(base_.head_index); }

  __device__ RowIndex at(int row) const {
    RowIndex i = base_;
    i.prepared = static_cast<int64_t>(tile_) * kKeys + row;
    i.inside = i.prepared < rows_;
    if constexpr (kTiled) {
      i.position = first_ + row;
      i.token = begin_ + i.position;
      i.valid = i.position < length_;
    } else {
      i.token = static_cast<int>(i.prepared);
      i.valid = i.inside;
      i.document = i.valid ? document_of(docs_, i.token) : 0;
      i.position = i.token - docs_.begin(i.document);
    }
    i.prepared += i.head_index * rows_;
    i.row = i.head_index * docs_.seq + i.token;
    return i;
  }

 private:
  const Documents& docs_;
  RowIndex base_{};
  int rows_, tiles_, tile_, begin_ = 0, first_ = 0, length_ = 0;
};

// Loads four columns of float32 sums; kTiled: from tiles of accumulators (accumulator_offset()).
template <int D, bool kTiled>
__device__ inline void load_sum(const float* sums, const RowIndex& i, int column, float (&x)[4]) {
  if constexpr (kTiled) {
    const float* from =
        sums + i.prepared / kKeys * (kKeys * D) + column / hopper::kPanel * hopper::kPanelElements +
        hopper::accumulator_offset(static_cast<int>(i.prepared % kKeys), column % hopper::kPanel);
    const float2 a = *reinterpret_cast<const float2*>(from), b = *reinterpret_cast<const float2*>(from + 4);
    x[0] = a.x, x[1] = a.y, x[2] = b.x, x[3] = b.y;
  } else {
    load4<float, true>(sums + i.row * D + column, x);
  }
}

template <typename Element>
__device__ inline const Element* at(const Strided& x, const RowIndex& i) {
  return static_cast<const Element*>(x.data) + i.batch * x.batch + i.token * x.token + i.head * x.head;
}

// Rotates the pairs (x[i], y[i]), columns (d, d + half). sign: 1, or -1 to rotate back. cos and sin: four
// angles from a multiple of four.
__device__ inline void rotate(float (&x)[4], float (&y)[4], const float* cos, const float* sin, float sign) {
  float c[4], s[4];
  load4<float, true>(cos, c);
  load4<float, true>(sin, s);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float a = x[i], b = y[i];
    x[i] = a * c[i] - b * sign * s[i];
    y[i] = a * sign * s[i] + b * c[i];
  }
}

// What the row's self key gets of what is left of its sticks.
__device__ inline float self_key_remainder(const AttentionParams& p, const BackwardInputs& in, int64_t row) {
  if (!p.remainder_self) return 0.f;
  return p.causal ? in.rem[row] : in.rem[2 * row] + in.rem[2 * row + 1];
}

// Whether every row is aligned to 4 elements.
template <typename Element>
inline bool vectors_fit(const Strided& x) {
  return reinterpret_cast<uintptr_t>(x.data) % (4 * sizeof(Element)) == 0 && x.batch % 4 == 0 &&
         x.token % 4 == 0 && x.head % 4 == 0;
}

// The number of thread blocks that take all rows.
inline unsigned row_grid(const AttentionParams& p) {
  const int64_t rows = prepared_rows(p) / (p.batch * p.heads);
  return static_cast<unsigned>((rows + kKeys - 1) / kKeys * p.batch * p.heads);
}

// Calls call(vector loads fit, prepared matrices are tiled), both as std::bool_constant.
template <typename Element, int D, typename Call>
void switch_layout(const AttentionParams& p, bool vector, Call call) {
  const auto tiled = [&](auto vector) {
    if constexpr (sizeof(Element) == 2 && D >= 64) {
      if (p.path == Path::kHopper) return call(vector, std::true_type());
    }
    call(vector, std::false_type());
  };
  vector ? tiled(std::true_type()) : tiled(std::false_type());
}

}  // namespace rse::kernels
