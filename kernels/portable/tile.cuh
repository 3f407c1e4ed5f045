// The portable path's tile: instructions of compute capability 8.0, how 64 keys lie in shared memory and in
// registers, and the products of a tile.
//
// Eight warps hold 16 query rows each. Column c of the products' accumulator holds key key_of_column(c) of
// the tile, so that each lane of a row's quad holds 16 neighbouring keys: the product along the stick is a
// loop in registers and two shuffles per tile.
#pragma once

#include "kernels/device_common.cuh"
#include "kernels/thread_keys.cuh"

namespace rse::kernels::portable {

__device__ inline void ldmatrix4(uint32_t (&r)[4], uint32_t a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(a)
               : "memory");
}
__device__ inline void ldmatrix4_trans(uint32_t (&r)[4], uint32_t a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(a)
               : "memory");
}
template <typename Element>
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<Element, __nv_bfloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// The offset, in elements, of a 16-byte chunk of a key's row. Both the eight rows that an ldmatrix reads
// (pairs of keys, the pairs 16 apart) and eight neighbouring rows meet all banks of shared memory.
template <int D>
__device__ inline int key_chunk(int key, int chunk) {
  if constexpr (D >= 64) {
    return key * D + (chunk ^ ((((key >> 4) & 3) << 1) | (key & 1))) * 8;
  } else {
    return key * D + (chunk ^ ((key >> 4) & 3)) * 8;
  }
}

// The same for matrices of which eight neighbouring rows are read at a time.
template <int D>
__device__ inline int row_chunk(int row, int chunk) {
  if constexpr (D >= 64) {
    return row * D + (chunk ^ (row & 7)) * 8;
  } else {
    return row * D + (chunk ^ ((row >> 1) & 3)) * 8;
  }
}

// Starts to copy kKeys rows of key and value, from row `first` of the document, into a stage. Rows at or past
// `end` become zero.
template <typename Element, int D>
__device__ inline void load_tile(Element* stage, const Element* key, const Element* value, int first,
                                 int end) {
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = 0; i < kKeys * kChunks / kThreads; ++i) {
    const int index = threadIdx.x + i * kThreads, row = index / kChunks, chunk = index % kChunks;
    const bool valid = first + row < end;
    const int64_t from = static_cast<int64_t>(valid ? first + row : 0) * D + chunk * 8;
    cp_async16(shared_address(stage + key_chunk<D>(row, chunk)), key + from, valid);
    cp_async16(shared_address(stage + kKeys * D + key_chunk<D>(row, chunk)), value + from, valid);
  }
}

// x = the products of the warp's rows (as left fragments) with the tile's 64 keys, held as AccumulatorRow
// says.
template <typename Element, int D>
__device__ inline void products(uint32_t keys, const uint32_t (&rows)[D / 16][4], float (&x)[32]) {
  const int lane = threadIdx.x % 32, matrix_row = lane % 8, matrix = lane / 8;
#pragma unroll
  for (int m = 0; m < 8; ++m) {
    float c[4] = {0, 0, 0, 0};
    const int key = key_of_column(8 * m + matrix_row);
#pragma unroll
    for (int d = 0; d < D / 16; d += 2) {
      uint32_t b[4];
      ldmatrix4(b, keys + 2 * key_chunk<D>(key, 2 * d + matrix));
      mma<Element>(c, rows[d], b[0], b[1]);
      mma<Element>(c, rows[d + 1], b[2], b[3]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) x[4 * m + i] = c[i];
  }
}

// out[row] += sum over the tile's keys of weight * matrix[key]. weights[k]: the left fragment of accumulator
// columns 16 k to 16 k + 15.
template <typename Element, int D>
__device__ inline void accumulate(uint32_t matrix, const uint32_t (&weights)[4][4], float (&out)[D / 8][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int key = key_of_column(16 * k + lane % 16);
#pragma unroll
    for (int d = 0; d < D / 16; ++d) {
      uint32_t b[4];
      ldmatrix4_trans(b, matrix + 2 * key_chunk<D>(key, 2 * d + lane / 16));
      mma<Element>(out[2 * d], weights[k], b[0], b[1]);
      mma<Element>(out[2 * d + 1], weights[k], b[2], b[3]);
    }
  }
}

}  // namespace rse::kernels::portable
