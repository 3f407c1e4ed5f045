// Vectors of kLanes<T> elements (GCC vector extensions), 2^x, and nothing that crosses lanes.
// Part of kernels_impl.h.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace rse::ops::cpu::RSE_SIMD_NAMESPACE {

template <typename T>
struct VecTypes;
template <>
struct VecTypes<float> {
  typedef float Value __attribute__((vector_size(RSE_SIMD_BYTES), may_alias));
  typedef int32_t Bits __attribute__((vector_size(RSE_SIMD_BYTES), may_alias));
};
template <>
struct VecTypes<double> {
  typedef double Value __attribute__((vector_size(RSE_SIMD_BYTES), may_alias));
  typedef int64_t Bits __attribute__((vector_size(RSE_SIMD_BYTES), may_alias));
};

template <typename T>
using Vec = typename VecTypes<T>::Value;
template <typename T>
using VecBits = typename VecTypes<T>::Bits;

template <typename T>
inline constexpr int64_t kLanes = RSE_SIMD_BYTES / sizeof(T);

template <typename T>
inline Vec<T> load(const T* p) {
  return *reinterpret_cast<const Vec<T>*>(p);
}
template <typename T>
inline void store(T* p, Vec<T> x) {
  *reinterpret_cast<Vec<T>*>(p) = x;
}
template <typename T>
inline Vec<T> splat(T x) {
  return x - Vec<T>{};  // not +: -0 + 0 is no identity that the compiler may drop
}
// first, first + 1, ...
template <typename T>
inline Vec<T> iota(T first) {
  Vec<T> x;
  for (int64_t l = 0; l < kLanes<T>; ++l) x[l] = first + static_cast<T>(l);
  return x;
}

// low <= x <= high; a NaN stays one.
template <typename T>
inline Vec<T> clamp(Vec<T> x, T low, T high) {
  const Vec<T> below = splat(high) < x ? splat(high) : x;
  return splat(low) > below ? splat(low) : below;
}

template <typename T>
struct Exp2;
// Minimax polynomial of 2^f on [-1/2, 1/2], relative error 2e-7 / 1e-17 (Taylor); `round_shift` = 1.5 *
// 2^mantissa rounds x to an integer in its low bits; `limit` keeps 2^x and 1 / (1 + 2^x) normal numbers.
template <>
struct Exp2<float> {
  static constexpr int kDegree = 5;
  static constexpr int kMantissa = 23;
  static constexpr float kRoundShift = 12582912.0f;
  static constexpr float kLimit = 125.0f;
  static constexpr float kCoefficients[] = {1.000000072e+00f, 6.931469671e-01f, 2.402211972e-01f,
                                            5.550713273e-02f, 9.675541334e-03f, 1.327647199e-03f};
};
template <>
struct Exp2<double> {
  static constexpr int kDegree = 13;
  static constexpr int kMantissa = 52;
  static constexpr double kRoundShift = 6755399441055744.0;
  static constexpr double kLimit = 1020.0;
  static constexpr double kCoefficients[] = {1.0,
                                             6.93147180559945286e-01,
                                             2.40226506959100694e-01,
                                             5.55041086648215762e-02,
                                             9.61812910762847688e-03,
                                             1.33335581464284411e-03,
                                             1.54035303933816061e-04,
                                             1.52527338040598377e-05,
                                             1.32154867901443053e-06,
                                             1.01780860092396960e-07,
                                             7.05491162080112088e-09,
                                             4.44553827187081007e-10,
                                             2.56784359934881958e-11,
                                             1.36914888539041241e-12};
};

// 2^x, x clamped to where it neither overflows nor underflows.
template <typename T>
inline Vec<T> exp2(Vec<T> x) {
  using E = Exp2<T>;
  x = clamp<T>(x, -E::kLimit, E::kLimit);
  const Vec<T> shifted = x + E::kRoundShift;
  const Vec<T> f = x - (shifted - E::kRoundShift);
  Vec<T> p = splat(E::kCoefficients[E::kDegree]);
#pragma GCC unroll 16
  for (int n = E::kDegree - 1; n >= 0; --n) p = p * f + E::kCoefficients[n];
  return (Vec<T>)((VecBits<T>)p + ((VecBits<T>)shifted << E::kMantissa));
}

// Subnormal numbers count as zero while this object lives: a stick that runs out would otherwise pass through
// them, which is slow.
class FlushSubnormals {
 public:
#if defined(__x86_64__)
  FlushSubnormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

}  // namespace rse::ops::cpu::RSE_SIMD_NAMESPACE
