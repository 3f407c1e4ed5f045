// Evaluation at several lengths on fixed targets (src/eval/README.md sections 2 and 3): the raw material,
// target by target. Tables, intervals and sentences are made of it by analysis/analysis.h.
//
// Texts are cut into pieces of the longest length; every length divides it, so each target is predicted at
// each length. Order of calls: LengthProtocol (chooses pieces and targets) -> measure() for each model.
// Invariant: the targets, their order and the masked inputs are the same in every measurement.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "analysis/target_losses.h"
#include "data/evaluation_windows.h"
#include "eval/target_nll.h"

namespace rse {

// Which texts, which targets, at which lengths.
struct ProtocolConfig {
  std::vector<int64_t> lengths;  // increasing
  int64_t control_window = 0;    // attention window of the control, measured at every length; 0: no control
  MaskingConfig masking;
  uint64_t seed = 0;       // of masks and of the choice of max_targets
  int64_t max_pieces = 0;  // 0: all
  PieceChoice pieces = PieceChoice::kSpread;
  // 0: all. N: exactly N targets, from the smallest number of pieces (of at most max_pieces, chosen as
  // `pieces` says) that holds as many; all targets where there are fewer.
  int64_t max_targets = 0;
};

// How a model is run: what changes memory and speed, and rounding.
struct ForwardSettings {
  int64_t batch_tokens = 16384;
  torch::Device device = torch::kCPU;
  bool bf16 = false;
};

class LengthProtocol {
 public:
  // file outlives it. UserError: no length, one below 1 or not dividing the longest, lengths that do not
  // increase; no piece of the longest length in the file; no target.
  LengthProtocol(const TokenFile& file, const ProtocolConfig& config);

  const TargetPlaces& places() const { return places_; }
  const EvaluationSet& set() const { return set_; }
  const ProtocolConfig& config() const { return config_; }
  // (length, attention window) in the order of measurement: full attention by length, then the control.
  const std::vector<std::pair<int64_t, int64_t>>& settings() const { return settings_; }
  // Tokens that one measure() runs through.
  int64_t tokens() const;
  // The set, seeds and thinning at one of settings(); what the model sees is target_batch() of it.
  EvaluationSettings evaluation(const std::pair<int64_t, int64_t>& setting,
                                const ForwardSettings& forward) const;

  // One model at all settings. progress (may be empty) is told how many of tokens() are done.
  std::vector<LengthLosses> measure(const Evaluator& model, const ForwardSettings& forward,
                                    const std::function<void(int64_t)>& progress = {}) const;

 private:
  ProtocolConfig config_;
  std::vector<std::pair<int64_t, int64_t>> settings_;
  EvaluationSet set_;
  std::optional<ThinningDraw> last_kept_;
  TargetPlaces places_;
};

}  // namespace rse
