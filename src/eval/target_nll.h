// Runs a model over the pieces of an EvaluationSet: negative log-likelihood of every target. Validation while
// training and the length protocol both stand on this.
//
// Invariant: which tokens are targets, what stands in their place, and which of them are kept depends on the
// file, the pieces, masking, seed and thinning alone - never on the window, the model or batch_tokens.
#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "analysis/target_losses.h"
#include "data/evaluation_windows.h"
#include "data/masking.h"
#include "nn/encoder.h"

namespace rse {

// A model under evaluation: (input_ids int64 [total], layout, target_positions int64 [targets]) -> logits
// [targets, vocab]. Called without gradients, on EvaluationSettings::device, under its autocast.
using Evaluator =
    std::function<torch::Tensor(const torch::Tensor&, const SequenceLayout&, const torch::Tensor&)>;

// The encoder without dropout; shares its parameters.
Evaluator evaluator_of(Encoder encoder);

// A target's place in the order in which targets are thinned: a keyed draw, compared word by word.
using ThinningDraw = std::array<uint32_t, 4>;
ThinningDraw thinning_draw(uint64_t seed, uint64_t document, uint64_t offset_in_document);

// Where and how a model is evaluated.
struct EvaluationSettings {
  MaskingConfig masking;
  uint64_t seed = 0;
  std::optional<ThinningDraw> last_kept;  // targets with a higher draw are not predicted; absent: all are
  int64_t window = 0;                     // divides set.piece_tokens()
  int64_t attention_window = 0;           // SequenceLayout::attention_window
  int64_t batch_tokens = 16384;  // a forward pass, at least one piece; changes memory and speed, not results
  torch::Device device = torch::kCPU;  // where the model is
  bool bf16 = false;                   // under bf16 autocast
};

// Pieces [first_piece, first_piece + count) in windows, with the targets that are kept. Appends their places.
TokenBatch target_batch(const EvaluationSet& set, const EvaluationSettings& settings, int64_t first_piece,
                        int64_t count, TargetPlaces& places);

struct TargetNll {
  TargetPlaces places;
  std::vector<float> nll;  // nats, in the places' order; float32 from the logits as they are
};

// The whole set. progress (may be empty) is told how many tokens are done, increasing. The next batch is made
// while the device computes.
TargetNll target_nll(const Evaluator& model, const EvaluationSet& set, const EvaluationSettings& settings,
                     const std::function<void(int64_t)>& progress = {});

}  // namespace rse
