// How the Hopper path lays matrices into device memory.
//
// Matrices lie in device memory as they will lie in shared memory: tiles of 64 rows, each a panel of 64
// columns (128 bytes per row) after another, 16-byte chunks swizzled within 8 rows as the 128-byte mode of
// wgmma wants them. A tile is one contiguous bulk copy. Rows of key and value tiles are permuted
// (key_of_column in thread_keys.cuh), so that a thread's accumulator holds 16 neighbouring keys of each of
// its two rows. Tiles count from the document's first token; rows past its end are 0.
#pragma once

#include "kernels/tile_size.h"

namespace rse::kernels::hopper {

// The offset, in elements, of a piece of 4 elements in a tile of 64 rows.
template <int D>
__host__ __device__ inline int tile_offset(int row, int column) {
  const int panel = column / kPanel, chunk = column % kPanel / 8;
  return panel * kPanelElements + row * kPanel + (chunk ^ (row & 7)) * 8 + column % 8;
}

// Where dK or dV of (row, column) of a 64 x 64 panel is summed: in the order in which the accumulators of a
// warpgroup leave for shared memory without bank conflicts, [column / 8][thread][4].
__host__ __device__ inline int accumulator_offset(int row, int column) {
  const int thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
  return (column / 8 * 128 + thread) * 4 + row % 16 / 8 * 2 + column % 2;
}

}  // namespace rse::kernels::hopper
