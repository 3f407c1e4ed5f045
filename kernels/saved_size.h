// How much forward keeps for backward, in plain arithmetic that symbolic sizes can do too (torch.compile).
// Plain C++ without CUDA, so that the operator's shape functions can include it.
#pragma once

#include <cstdint>

#include "kernels/tile_size.h"

namespace rse::kernels {

// Which kernels run. kPortable: the tensor cores through mma.sync (bfloat16, float16) or plain arithmetic
// (float32), on compute capability 8.0 and newer. kHopper: wgmma and bulk copies (bfloat16, float16), on
// compute capability 9.0.
enum class Path { kPortable, kHopper };

// The head size that the kernels are compiled for.
constexpr int padded_head_dim(int64_t head_dim, Path path) {
  return head_dim <= 32 && path == Path::kPortable ? 32 : head_dim <= 64 ? 64 : 128;
}

#ifdef __CUDACC__
#define RSE_HOST_DEVICE __host__ __device__
#else
#define RSE_HOST_DEVICE
#endif

// How many numbers the row blocks of a head are given (layout.h says how); some of them stay empty.
template <typename Int>
RSE_HOST_DEVICE inline Int num_blocks(const Int& seq, const Int& documents) {
  return (seq + Int(kRows - 1)) / Int(kRows) + documents - Int(1);
}

// The number of floats in ForwardOutputs::saved: rotated query, key and value, self logits, norms, and per side
// the sums of values (float32: a pair per row), each array rounded up to 64 floats. documents: 1 without
// cu_seqlens.
template <typename Int>
Int saved_floats(const Int& batch, const Int& seq, const Int& heads, const Int& documents, int64_t head_dim,
                 int64_t element_bytes, bool causal, Path path) {
  const auto rounded = [](const Int& floats) { return (floats + Int(63)) / Int(64) * Int(64); };
  const Int padded(padded_head_dim(head_dim, path)), sequences = batch * heads, rows = sequences * seq;
  const Int blocks = num_blocks<Int>(seq, documents) * sequences;
  const Int prepared = path == Path::kHopper ? blocks * Int(kRows) : rows;
  const Int matrix = rounded((prepared * padded * Int(element_bytes) + Int(3)) / Int(4));
  const int64_t sides = causal ? 1 : 2;
  const Int per_side =
      element_bytes == 4 ? rounded(Int(2 * sides) * rows) : Int(sides) * rounded(prepared * padded);
  return Int(3) * matrix + rounded(rows) + rounded(blocks + Int(2) * sequences) + per_side;
}

}  // namespace rse::kernels
