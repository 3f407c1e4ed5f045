// Validation while training: mean negative log-likelihood over targets that are fixed for a token file
// (src/eval/README.md section 2), so that every arm and every step answers the same questions.
//
// Order of calls: ValidationConfig -> make_validation_set() once -> evaluate() whenever wanted.
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "data/evaluation_windows.h"
#include "eval/target_nll.h"
#include "run/run_config.h"

namespace rse {

struct ValidationResult {
  double mean_nll = 0;  // over all targets, nats per target
  int64_t targets = 0;
};

// The pieces that `config` asks for at the training length seq_len. file outlives the set. UserError naming
// the file where it has no piece so long, or the keys where the window does not divide the pieces.
EvaluationSet make_validation_set(const TokenFile& file, const ValidationConfig& config, int64_t seq_len);

// Runs the encoder over the whole set (target_nll), sums in float64. UserError where the set has no target.
ValidationResult evaluate(const Encoder& encoder, const EvaluationSet& set,
                          const EvaluationSettings& settings);

}  // namespace rse
