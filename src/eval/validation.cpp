#include "eval/validation.h"

#include <algorithm>
#include <map>

#include "eval/device_batch.h"
#include "nn/autocast.h"
#include "nn/mlm_loss.h"

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

ValidationResult evaluate(Encoder& encoder, const EvaluationSet& set, const EvaluationSettings& settings) {
  torch::NoGradGuard no_grad;
  const int64_t pieces_a_batch = std::max<int64_t>(1, settings.batch_tokens / set.piece_tokens());
  // All batches are queued before the first result is waited for.
  std::vector<torch::Tensor> losses;
  std::vector<int64_t> documents;
  for (int64_t first = 0; first < set.size(); first += pieces_a_batch) {
    const int64_t count = std::min(pieces_a_batch, set.size() - first);
    const TokenBatch batch = set.batch(settings.masking, settings.seed, first, count, settings.window);
    if (batch.targets() == 0) continue;
    const DeviceBatch on_device = to_device(batch, settings.device);
    Bf16Autocast autocast(settings.device, settings.bf16);
    const torch::Tensor logits = encoder(on_device.input_ids, on_device.layout, on_device.target_positions);
    losses.push_back(masked_lm_nll(logits, on_device.target_ids));
    documents.insert(documents.end(), batch.target_documents.begin(), batch.target_documents.end());
  }
  if (losses.empty())
    throw_user_error(
        "validation: no target in {} pieces of {} tokens: expected more text or a "
        "higher masking probability",
        set.size(), set.piece_tokens());
  const torch::Tensor nll = torch::cat(losses).to(torch::kCPU, torch::kFloat64);
  const double* values = nll.data_ptr<double>();
  std::map<int64_t, DocumentLoss> by_document;
  ValidationResult result;
  result.targets = nll.numel();
  for (int64_t i = 0; i < result.targets; ++i) {
    DocumentLoss& loss = by_document[documents[i]];
    loss.document = documents[i];
    ++loss.targets;
    loss.mean_nll += values[i];
    result.mean_nll += values[i];
  }
  result.mean_nll /= static_cast<double>(result.targets);
  for (auto& [document, loss] : by_document) {
    loss.mean_nll /= static_cast<double>(loss.targets);
    result.documents.push_back(loss);
  }
  return result;
}

}  // namespace rse
