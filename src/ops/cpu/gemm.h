// The one matrix product behind all seven of the operator: lanes run along B and C, A is broadcast.
//
//   C[r][x] (+)= sum_k A[r * row_step + k * k_step] * B[k][x]     0 <= r < rows, 0 <= k < depth, x < lanes *
//   vecs
//
// B and C are vector-aligned with strides that are multiples of the vector width. Part of kernels_impl.h.
#pragma once

#include "ops/cpu/simd.h"

namespace rse::ops::cpu::RSE_SIMD_NAMESPACE {

template <typename T>
struct Operand {
  const T* data;
  int64_t row_step;
  int64_t k_step;
};

// The register tile is kMaxCols vectors wide and kMaxRows broadcasts high, so that its accumulators, one row
// of B and one broadcast fit the registers.
inline constexpr int kMaxCols = RSE_SIMD_REGISTERS >= 32 ? 4 : 2;
inline constexpr int kMaxRows = RSE_SIMD_REGISTERS >= 32 ? 6 : 4;

template <typename T, int kRows, int kCols, bool kAdd>
inline __attribute__((always_inline)) void register_tile(int64_t depth, Operand<T> a, const T* b,
                                                         int64_t b_stride, T* c, int64_t c_stride) {
  Vec<T> sum[kRows][kCols];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int x = 0; x < kCols; ++x) sum[r][x] = kAdd ? load(c + r * c_stride + x * kLanes<T>) : Vec<T>{};
  }
  const T* ak = a.data;
  for (int64_t k = 0; k < depth; ++k, ak += a.k_step, b += b_stride) {
    Vec<T> row[kCols];
#pragma GCC unroll 8
    for (int x = 0; x < kCols; ++x) row[x] = load(b + x * kLanes<T>);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec<T> factor = splat(ak[r * a.row_step]);
#pragma GCC unroll 8
      for (int x = 0; x < kCols; ++x) sum[r][x] += factor * row[x];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int x = 0; x < kCols; ++x) store<T>(c + r * c_stride + x * kLanes<T>, sum[r][x]);
  }
}

// All rows of one column panel: as many full register tiles as fit, then halves.
template <typename T, int kRows, int kCols, bool kAdd>
inline void column_panel(int64_t rows, int64_t depth, Operand<T> a, const T* b, int64_t b_stride, T* c,
                         int64_t c_stride) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    register_tile<T, kRows, kCols, kAdd>(depth, {a.data + r * a.row_step, a.row_step, a.k_step}, b, b_stride,
                                         c + r * c_stride, c_stride);
  }
  if constexpr (kRows > 1) {
    if (r < rows) {
      constexpr int kFewer = kRows > 4 ? 4 : kRows / 2;
      column_panel<T, kFewer, kCols, kAdd>(rows - r, depth, {a.data + r * a.row_step, a.row_step, a.k_step},
                                           b, b_stride, c + r * c_stride, c_stride);
    }
  }
}

template <typename T, bool kAdd>
void gemm(int64_t rows, int64_t vecs, int64_t depth, Operand<T> a, const T* b, int64_t b_stride, T* c,
          int64_t c_stride) {
  int64_t v = 0;
  for (; v + kMaxCols <= vecs; v += kMaxCols) {
    column_panel<T, kMaxRows, kMaxCols, kAdd>(rows, depth, a, b + v * kLanes<T>, b_stride, c + v * kLanes<T>,
                                              c_stride);
  }
  if constexpr (kMaxCols > 2) {
    for (; v + 2 <= vecs; v += 2) {
      column_panel<T, 8, 2, kAdd>(rows, depth, a, b + v * kLanes<T>, b_stride, c + v * kLanes<T>, c_stride);
    }
  }
  for (; v < vecs; ++v) {
    column_panel<T, 8, 1, kAdd>(rows, depth, a, b + v * kLanes<T>, b_stride, c + v * kLanes<T>, c_stride);
  }
}

}  // namespace rse::ops::cpu::RSE_SIMD_NAMESPACE
