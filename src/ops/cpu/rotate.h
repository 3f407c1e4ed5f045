// One row turned by its position (src/ops/README.md section 1, "rotate half"). Part of kernels_impl.h.
#pragma once

#include "ops/cpu/simd.h"

namespace rse::ops::cpu::RSE_SIMD_NAMESPACE {

// Pairs (x_d, x_{d + head_dim / 2}); sign = -1 turns back. Without cos: only the factor.
template <typename T>
void turn_row(const T* __restrict row, const T* __restrict cos, const T* __restrict sin, int64_t head_dim,
              T sign, T factor, T* __restrict result) {
  if (cos == nullptr) {
    for (int64_t d = 0; d < head_dim; ++d) result[d] = row[d] * factor;
    return;
  }
  const int64_t half = head_dim / 2;
  for (int64_t d = 0; d < half; ++d) {
    const T c = cos[d] * factor, s = sin[d] * (sign * factor);
    result[d] = row[d] * c - row[d + half] * s;
    result[d + half] = row[d + half] * c + row[d] * s;
  }
}

}  // namespace rse::ops::cpu::RSE_SIMD_NAMESPACE
