// Powers of two that keep what goes to the tensor cores as float16 within its range, 2^-24 to 65,504, where
// the numbers themselves would vanish or overflow. All are 1 for other types. Products are summed in float32,
// so that the powers come off exactly; whoever reads a sum takes them off.
//
//   weights                    kWeightScale: sticks start with it, so that all that is broken off carries it
//   logit gradients            logit_grad_scale(), one per head
//   prepared key, and query    key_factor(), one per head, and its inverse
#pragma once

#include "kernels/device_common.cuh"

namespace rse::kernels {

template <typename Element>
constexpr bool kIsHalf = std::is_same_v<Element, __half>;

// A weight is at most 1, and the self key's with both remainders at most 3: 3 * 2^14 < 65,504.
template <typename Element>
constexpr float kWeightScale = kIsHalf<Element> ? 16384.f : 1.f;

// The largest power of two that is not above x, a positive normal number.
__device__ inline float power_of_two_below(float x) {
  return __uint_as_float(__float_as_uint(x) & 0x7f800000u);
}

// No logit gradient of the head exceeds half of `bound`, because it is a stick times beta (1 - beta) times the
// difference of two gradients of weights (or of a remainder). Rounding may make it 2 bound at most.
template <typename Element>
__device__ inline float logit_grad_scale(const Prepared& prepared, const Accumulators& acc, int head_index) {
  if constexpr (!kIsHalf<Element>) return 1.f;
  const float bound =
      fmaxf(__uint_as_float(acc.grad_norm[head_index]) * __uint_as_float(prepared.value_norm[head_index]),
            __uint_as_float(acc.rem_grad[head_index]));
  return bound > 1e-30f && bound < INFINITY ? 8192.f / power_of_two_below(bound) : 1.f;
}

// The prepared key is the rotated key times this, the prepared query the rotated query times scale * log2(e)
// over this.
template <typename Element>
__device__ inline float key_factor(const Prepared& prepared, int head_index) {
  if constexpr (!kIsHalf<Element>) return 1.f;
  const float factor = prepared.key_factor;
  if (!prepared.fits_keys) return factor;
  const float norm = __uint_as_float(prepared.key_norm[head_index]);
  return !(norm * factor > 65504.f) ? factor : power_of_two_below(65504.f / norm);
}

}  // namespace rse::kernels
