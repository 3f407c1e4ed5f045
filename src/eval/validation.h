// Validation while training: mean negative log-likelihood over targets that are fixed for a token file
// (evaluation.md section 2), so that every arm and every step answers the same questions.
//
// Order of calls: ValidationConfig -> make_validation_set() once -> evaluate() whenever wanted.
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "core/config_binder.h"
#include "data/evaluation_windows.h"
#include "eval/target_nll.h"

namespace rse {

// Keys under `validation:`.
struct ValidationConfig {
  int64_t every = 500;       // steps between validations; 0: at the end only
  int64_t length = 0;        // window, in tokens; 0: data.seq_len
  int64_t piece_tokens = 0;  // texts are trimmed to pieces of this size, a multiple of length; 0: length
  int64_t pieces = 256;      // at most; 0: all
  int64_t seed = 0;          // of the targets
  int64_t batch_tokens =
      16384;  // tokens a forward pass, at least one piece; changes memory and speed, not results
  bool operator==(const ValidationConfig&) const = default;
  void bind(ConfigBinder& b);

  int64_t window(int64_t seq_len) const { return length == 0 ? seq_len : length; }
};

struct ValidationResult {
  double mean_nll = 0;  // over all targets, nats a target
  int64_t targets = 0;
};

// The pieces that `config` asks for at the training length seq_len. file outlives the set. UserError naming
// the file where it has no piece so long, or the keys where the window does not divide the pieces.
EvaluationSet make_validation_set(const TokenFile& file, const ValidationConfig& config, int64_t seq_len);

// Runs the encoder over the whole set (target_nll), sums in float64. UserError where the set has no target.
ValidationResult evaluate(const Encoder& encoder, const EvaluationSet& set,
                          const EvaluationSettings& settings);

}  // namespace rse
