// The stick (src/ops/README.md section 1): logits become weights by breaking a stick of each query from near
// to far, and in backward the gradients of weights become those of logits (section 3). One text for all
// paths; how a thread holds its keys (Keys) and which lanes share a row (Lanes) are thread_keys.cuh's. Tiles,
// masks and reach are the walk's (walk.cuh).
//
// Order of calls for the keys of one tile that a thread holds of a row:
//   forward    break_stick, stick_in_front, then weight = x * stick in front * run_front
//   backward   the same (float32: stick_before in place of stick_in_front), weighted gradients and their sum,
//              farther_lanes or farther_sum, logit gradients from the farthest key to the nearest
//
// break_stick shares one reciprocal between a run of kRun neighbouring keys (section 5). With e = exp(x), w =
// 1 + e and Q_i = w_1 ... w_i along the run: the weight over a stick of 1 in front of the run is e_i / Q_i,
// the sigmoid e_i / w_i = (e_i / Q_i) Q_(i-1), and the run leaves 1 / Q of its last key.
#pragma once

#include "kernels/device_common.cuh"
#include "kernels/float16_scales.cuh"
#include "kernels/thread_keys.cuh"
#include "kernels/walk.cuh"

namespace rse::kernels {

// How the reciprocals of sticks are formed. kApproximate: rcp.approx, 2 ulp, one for a run of 4 keys. kNewton:
// with a Newton step, 1 ulp, one for 2 keys, for paths that keep float32 along thousands of keys, where the
// bias of the instruction would add up, and beside values of a million times the others.
enum class Reciprocal { kApproximate, kNewton };
template <Reciprocal kind>
constexpr int kRunLength = kind == Reciprocal::kNewton ? 2 : 4;
// Logits are clamped here, in units of log2, so that neither the product of a run's 1 + e nor its inverse
// leaves float32: 1 - beta >= 2^-31 (an error below 1e-9), or 2^-62.
template <Reciprocal kind>
constexpr float kMostLogitOf = kind == Reciprocal::kNewton ? 62.f : 31.f;
constexpr float kMostLogit = kMostLogitOf<Reciprocal::kApproximate>;
constexpr int kRun = kRunLength<Reciprocal::kApproximate>;

__device__ __forceinline__ float exact_reciprocal(float x) {  // 1 ulp
  const float inverse = rcp_approx(x);
  return fmaf(inverse, fmaf(-x, inverse, 1.f), inverse);
}

// The number of the key that is i-th from the query.
template <bool kLeft, typename Keys>
__device__ constexpr int nth_nearest(int i) {
  return kLeft ? Keys::kCount - 1 - i : i;
}

// The logits of a row's keys (in units of log2; -inf: takes no part) become their weights over the stick in
// front of their run. run_front: the stick in front of each run, nearest run first, over that in front of all
// the thread's keys. beta, where kBeta: the sigmoids; rest, unless null: 1 - beta, each without loss of
// digits. Returns the factor that the thread's keys leave. kClamp: logits may exceed kMostLogitOf.
// Exponentials are ex2.approx, 2 ulp.
template <bool kLeft, bool kBeta, bool kClamp, Reciprocal kReciprocal, typename Keys, int N>
__device__ inline float break_stick(Keys keys, float (&x)[N],
                                    float (&run_front)[Keys::kCount / kRunLength<kReciprocal>],
                                    float (&beta)[N], float* rest = nullptr) {
  constexpr int kRun = kRunLength<kReciprocal>;
  float remaining = 1.f;
#pragma unroll
  for (int run = 0; run < Keys::kCount / kRun; ++run) {
    float e[kRun], w[kRun], q[kRun];
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      const float logit = x[keys(nth_nearest<kLeft, Keys>(kRun * run + i))];
      e[i] = exp2_approx(kClamp ? fminf(logit, kMostLogitOf<kReciprocal>) : logit);
      w[i] = 1.f + e[i];
      q[i] = i == 0 ? w[0] : q[i - 1] * w[i];
    }
    float inverse =
        kReciprocal == Reciprocal::kNewton ? exact_reciprocal(q[kRun - 1]) : rcp_approx(q[kRun - 1]);
    run_front[run] = remaining;
    remaining *= inverse;
#pragma unroll
    for (int i = kRun - 1; i >= 0; --i) {
      const int n = keys(nth_nearest<kLeft, Keys>(kRun * run + i));
      x[n] = inverse * e[i];
      if constexpr (kBeta) beta[n] = i == 0 ? x[n] : x[n] * q[i - 1];
      if (rest != nullptr) rest[n] = i == 0 ? inverse : inverse * q[i - 1];
      inverse *= w[i];
    }
  }
  return remaining;
}

// Whether the lanes that differ in mask(step) hold nearer keys than this one.
template <bool kLeft, typename Lanes>
__device__ __forceinline__ bool has_nearer(int step) {
  return ((threadIdx.x & Lanes::mask(step)) == 0) == kLeft;
}

// For lanes that combine first: what the lanes with nearer keys (kNearer; else with farther keys) combine to;
// x becomes what all lanes of the row combine to.
template <bool kLeft, bool kNearer, typename Lanes, typename Combine>
__device__ __forceinline__ float other_lanes(float& x, float neutral, Combine combine) {
  float others = neutral;
#pragma unroll
  for (int s = 0; s < Lanes::kSteps; ++s) {
    const float other = __shfl_xor_sync(~0u, x, Lanes::mask(s));
    if (has_nearer<kLeft, Lanes>(s) == kNearer) others = combine(others, other);
    x = combine(x, other);
  }
  return others;
}
template <bool kLeft, typename Lanes>
__device__ __forceinline__ float nearer_product(float& x) {
  return other_lanes<kLeft, true, Lanes>(x, 1.f, [](float a, float b) { return a * b; });
}
template <bool kLeft, typename Lanes>
__device__ __forceinline__ float farther_lanes(float& x) {
  return other_lanes<kLeft, false, Lanes>(x, 0.f, [](float a, float b) { return a + b; });
}

// For lanes that do not combine first (kCombineFirst is false): received[s] becomes what the 2^s lanes beside
// this lane's 2^s hold, combined; x becomes what all lanes of the row combine to.
template <typename Lanes, typename Combine>
__device__ __forceinline__ void over_lanes(float& x, float (&received)[Lanes::kSteps], Combine combine) {
#pragma unroll
  for (int s = 0; s < Lanes::kSteps; ++s) {
    received[s] = __shfl_xor_sync(~0u, x, Lanes::mask(s));
    x = combine(x, received[s]);
  }
}

// The stick in front of this lane's keys. remaining: the factor that the lane's keys leave; stick: that in
// front of the tile, which becomes what the tile leaves.
template <bool kLeft, typename Lanes>
__device__ __forceinline__ float stick_in_front(float remaining, float& stick) {
  float front = stick;
  if constexpr (Lanes::kCombineFirst) {
    front *= nearer_product<kLeft, Lanes>(remaining);
  } else {
    float received[Lanes::kSteps];
    over_lanes<Lanes>(remaining, received, [](float a, float b) { return a * b; });
#pragma unroll
    for (int s = 0; s < Lanes::kSteps; ++s) {
      if (has_nearer<kLeft, Lanes>(s)) front *= received[s];
    }
  }
  stick *= remaining;
  return front;
}

// The same on a walk from far to near. stick: what the tile leaves, which becomes that in front of the tile;
// known_front: that in front of the tile where forward has kept it, else negative.
template <bool kLeft, typename Lanes>
__device__ __forceinline__ float stick_before(float remaining, float& stick, float known_front) {
  static_assert(Lanes::kCombineFirst);
  const float nearer = nearer_product<kLeft, Lanes>(remaining);
  if (stick != 0.f) stick *= exact_reciprocal(remaining);
  if (known_front >= 0.f) stick = known_front;
  return stick * nearer;
}

// T of section 3 of this lane's farthest key, on a walk from near to far. sum: of the lane's weighted
// gradients; farther: the sum over the tile's keys and all beyond, the remainder's term included, which
// becomes that beyond the tile. That is a difference; it is held within `most`, the largest magnitude that
// what the tile leaves of the stick still allows, so that its rounding dies with the stick. Within the tile
// sums are only added to.
template <bool kLeft, typename Lanes>
__device__ __forceinline__ float farther_sum(float sum, float& farther, float most) {
  static_assert(!Lanes::kCombineFirst);
  float received[Lanes::kSteps];
  over_lanes<Lanes>(sum, received, [](float a, float b) { return a + b; });
  farther = fminf(fmaxf(farther - sum, -most), most);
  float here = farther;
#pragma unroll
  for (int s = 0; s < Lanes::kSteps; ++s) {
    if (!has_nearer<kLeft, Lanes>(s)) here += received[s];
  }
  return here;
}

// What follows is for the tensor cores: two rows per thread, 16 keys each, in an accumulator (AccumulatorRow)
// and, packed, as four fragments of 16 columns of the left matrix of a product.

// Weights of two rows.
template <typename Element, bool kLeft>
__device__ inline void pack_weights(const float (&x)[32], const float (&run_front)[2][4],
                                    const float (&front)[2], uint32_t (&fragments)[4][4]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const AccumulatorRow keys{h};
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      const float f = front[h] * run_front[h][kLeft ? 3 - run : run];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int n = kRun * run + 2 * half;
        fragments[run][2 * half + h] = pack<Element>(x[keys(n)] * f, x[keys(n + 1)] * f);
      }
    }
  }
}

// Logit gradients of two rows times `scale` (logit_grad_scale(); bfloat16 takes them as they are).
template <typename Element>
__device__ inline void pack_logit_gradients(const float (&logit_grad)[32], float scale,
                                            uint32_t (&fragments)[4][4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const AccumulatorRow keys{i % 2};
      const int n = kRun * k + i / 2 * 2;
      float a = logit_grad[keys(n)], b = logit_grad[keys(n + 1)];
      if constexpr (kIsHalf<Element>) {
        a *= scale;
        b *= scale;
      }
      fragments[k][i] = pack<Element>(a, b);
    }
  }
}

// Whether a sigmoid of a lane may be so near 1 that snap_to_one() is needed. front, remaining: of the lane's
// keys; with less in front, their gradients are below rounding.
__device__ __forceinline__ bool may_use_up(float front, float remaining) {
  return remaining < 0x1p-22f && front > 0x1p-24f;
}
// dx = t - beta (t + T) loses the digits of 1 - beta where beta is within a few ulp of 1. There it counts as 1,
// so that a key that takes all of a stick gets -T, whatever the size of t.
__device__ __forceinline__ void snap_to_one(float (&beta)[32]) {
#pragma unroll
  for (int n = 0; n < 32; ++n) beta[n] = beta[n] > 1.f - 0x1p-21f ? 1.f : beta[n];
}

// The largest magnitude of a sum over keys beyond a tile that leaves `stick`. Below 2^-30, to which a key that
// takes everything brings a stick (kMostLogit), it is rounding alone.
template <typename Element>
__device__ __forceinline__ float most_farther(float stick, float bound) {
  return stick > 0x1p-30f * kWeightScale<Element> ? stick * bound : 0.f;
}

// Row h: gradients of weights become gradients of logits. weights: packed, as the products had them, so that
// sums of weighted gradients agree with the totals that the walk starts from; farther, most: as
// farther_sum() has them; grad_decay -= the sum of logit gradients times distance, which is the row's share
// of d lambda (section 3).
template <typename Element, bool kLeft>
__device__ __forceinline__ void row_gradients(int h, float (&grad)[32], const uint32_t (&weights)[4][4],
                                              const float (&beta)[32], float& farther, float most,
                                              const RowPlace& place, float& grad_decay) {
  const AccumulatorRow keys{h};
  float moment = 0, total = 0, sum = 0;
#pragma unroll
  for (int n = 0; n < 16; n += 2) {
    const float2 weight = unpack<Element>(weights[n / 4][2 * ((n / 2) % 2) + h]);
    grad[keys(n)] *= weight.x;
    grad[keys(n + 1)] *= weight.y;
    sum += grad[keys(n)] + grad[keys(n + 1)];
  }
  float here = farther_sum<kLeft, QuadLanes>(sum, farther, most);
#pragma unroll
  for (int i = 15; i >= 0; --i) {
    const int n = nth_nearest<kLeft, AccumulatorRow>(i);
    here += grad[keys(n)];
    const float logit_grad = fmaf(-beta[keys(n)], here, grad[keys(n)]);
    grad[keys(n)] = logit_grad;
    total += logit_grad;
    moment = fmaf(static_cast<float>(kLeft ? -n : n), logit_grad, moment);
  }
  grad_decay -= fmaf(place.nearest<kLeft>(), total, moment);
}

}  // namespace rse::kernels
