// The update clipping that makes AdamW StableAdamW (Wortsman et al. 2023, "Stable and low-precision training for
// large-scale vision-language models", algorithm 2, after Adafactor, Shazeer and Stern 2018, section 6): the
// learning rate of each tensor is divided by max(1, RMS_t),
//
//   RMS_t = sqrt(mean(g_t^2 / max(v_t, eps^2))),   v_t = beta2 v_(t-1) + (1 - beta2) g_t^2, over 1 - beta2^t.
//
// Where the second moments lag behind gradients that have grown, RMS_t is above 1 and the update shorter. The
// paper writes the correction over 1 - beta2^t into its beta2; so does the library optimi, which ModernBERT was
// trained with. In the first update RMS_t is at most 1. Weight decay is multiplied by the divided rate, too.
//
// Invariant: everything is queued on the tensors' device, and the host does not wait for it.
#pragma once

#include <torch/torch.h>

#include <vector>

namespace rse {

// The rates of one group's tensors in one update, float32 scalars on their device: rate / max(1, RMS_t).
//
// grads: as the update uses them, clipped by their norm already; exp_avg_sq: beta2's average before this update,
// of the same shapes; both are only read. step: float32 scalar, the update's number from 1 on. Not finite where
// gradients are not finite, or where step is 0: such an update is cancelled.
std::vector<torch::Tensor> clipped_rates(const std::vector<torch::Tensor>& grads,
                                         const std::vector<torch::Tensor>& exp_avg_sq,
                                         const torch::Tensor& step, double rate, double beta2, double eps);

}  // namespace rse
