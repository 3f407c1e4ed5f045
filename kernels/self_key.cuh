// The query's own key, and what a row's sticks start with: the part of the mathematics that needs one number
// per row rather than one per pair. The attention kernels and the element-wise passes share it.
#pragma once

#include "kernels/float16_scales.cuh"

namespace rse::kernels {

// beta_ii, and 1 - beta_ii.
struct SelfKey {
  float beta, remaining;
};

// logit: x_ii in units of log2; takes_part: the option self_key. The logit is clamped at 60, so that neither
// number overflows.
__device__ inline SelfKey break_self_key(float logit, bool takes_part) {
  const float e = takes_part ? exp2f(fminf(logit, 60.f)) : 0.f;
  const float remaining = 1.f / (1.f + e);
  return {e * remaining, remaining};
}

// The length r of each of a query's sticks (src/ops/README.md section 1).
__device__ inline float stick_start(const SelfKey& self, bool shared, bool causal) {
  return !shared ? 1.f : causal ? self.remaining : 0.5f * self.remaining;
}

// What the tensor-core paths' backward knows of a row before its first key; sticks and totals times
// kWeightScale. All are 0 beyond the document's last row.
struct RowStart {
  float stick = 0;
  float left_total = 0, right_total = 0;  // of weighted gradients and the remainder's, per side: section 3
  float bound = 0;                        // the most that the magnitude of T may be for a stick of 1
};

// self_logit and state (Accumulators::row_state) are those of a row of the document; value_norm is the
// largest of the head.
template <typename Element>
__device__ inline RowStart row_start(const AttentionParams& p, float self_logit, const float4& state,
                                     float value_norm) {
  constexpr float kScale = kWeightScale<Element>;
  return {kScale * stick_start(break_self_key(self_logit, p.self_key), p.shared, p.causal), kScale * state.x,
          kScale * state.y, fmaxf(state.z * value_norm, state.w)};
}

// The self key's weight, what its value gets of the remainders included, and the gradient of its logit.
struct SelfKeyGradient {
  float weight, logit_grad;
};

// weight_grad: <grad_out, value>; total: the totals of both sides; remainder: what the self key gets of them.
__device__ inline SelfKeyGradient self_key_gradient(const SelfKey& self, float weight_grad, bool shared,
                                                    float total, float remainder) {
  const float weighted = self.beta * weight_grad;
  return {self.beta + remainder, weighted * self.remaining - (shared ? self.beta * total : 0.f)};
}

}  // namespace rse::kernels
