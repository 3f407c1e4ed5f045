#include "eval/validation.h"

#include <numeric>

namespace rse {

void ValidationConfig::bind(ConfigBinder& b) {
  constexpr int64_t kMany = int64_t{1} << 24;
  b.field("every", every, between<int64_t>(0, kMany));
  b.field("length", length, between<int64_t>(0, kMany));
  b.field("piece_tokens", piece_tokens, between<int64_t>(0, kMany));
  b.field("pieces", pieces, between<int64_t>(0, kMany));
  b.field("seed", seed, at_least<int64_t>(0));
  b.field("batch_tokens", batch_tokens, between<int64_t>(1, int64_t{1} << 30));
  if (b.reading() && length > 0 && piece_tokens % length != 0) {
    throw_user_error("{}: {}: '{}': expected a multiple of {} ({})", b.where("piece_tokens"),
                     b.path("piece_tokens"), piece_tokens, b.path("length"), length);
  }
}

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
