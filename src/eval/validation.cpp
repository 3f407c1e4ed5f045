#include "eval/validation.h"

#include <numeric>

namespace rse {

EvaluationSet make_validation_set(const TokenFile& file, const ValidationConfig& config, int64_t seq_len) {
  const int64_t window = config.window(seq_len);
  const int64_t piece = config.piece_tokens == 0 ? window : config.piece_tokens;
  if (piece % window != 0) {
    throw_user_error("validation.piece_tokens: '{}': expected a multiple of the window ({} tokens)", piece,
                     window);
  }
  return EvaluationSet(file, piece, config.pieces);
}

ValidationResult evaluate(const Encoder& encoder, const EvaluationSet& set,
                          const EvaluationSettings& settings) {
  const TargetNll losses = target_nll(evaluator_of(encoder), set, settings);
  if (losses.nll.empty())
    throw_user_error(
        "validation: no target in {} pieces of {} tokens: expected more text or a "
        "higher masking probability",
        set.size(), set.piece_tokens());
  ValidationResult result;
  result.targets = losses.places.size();
  result.mean_nll =
      std::accumulate(losses.nll.begin(), losses.nll.end(), 0.0) / static_cast<double>(result.targets);
  return result;
}

}  // namespace rse
