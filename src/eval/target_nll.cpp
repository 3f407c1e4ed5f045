#include "eval/target_nll.h"

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "core/random.h"
#include "eval/device_batch.h"
#include "nn/autocast.h"
#include "nn/mlm_loss.h"

namespace rse {
namespace {

// Takes from `batch` the targets whose draw is above `last_kept`; their inputs stay masked.
void thin(const std::vector<Piece>& pieces, int64_t first_piece, int64_t piece_tokens, uint64_t seed,
          const ThinningDraw& last_kept, TokenBatch& batch) {
  size_t kept = 0;
  for (size_t i = 0; i < batch.target_positions.size(); ++i) {
    const int64_t position = batch.target_positions[i];
    const Piece& piece = pieces[static_cast<size_t>(first_piece + position / piece_tokens)];
    const uint64_t offset = piece.offset + static_cast<uint64_t>(position % piece_tokens);
    if (thinning_draw(seed, piece.document, offset) > last_kept) continue;
    batch.target_positions[kept] = position;
    batch.target_ids[kept] = batch.target_ids[i];
    batch.target_documents[kept++] = batch.target_documents[i];
  }
  batch.target_positions.resize(kept);
  batch.target_ids.resize(kept);
  batch.target_documents.resize(kept);
}

void append(const torch::Tensor& nll, std::vector<float>& all) {
  const torch::Tensor host = nll.to(torch::kCPU, torch::kFloat32).contiguous();  // waits for the device
  const float* values = host.const_data_ptr<float>();
  all.insert(all.end(), values, values + host.numel());
}

}  // namespace

Evaluator evaluator_of(Encoder encoder) {
  return [encoder = std::move(encoder)](const torch::Tensor& input_ids, const SequenceLayout& layout,
                                        const torch::Tensor& target_positions) mutable {
    return encoder(input_ids, layout, target_positions);
  };
}

ThinningDraw thinning_draw(uint64_t seed, uint64_t document, uint64_t offset_in_document) {
  return random_bits(mix_key(mix_key(seed, "thinning"), document), offset_in_document);
}

TokenBatch target_batch(const EvaluationSet& set, const EvaluationSettings& settings, int64_t first_piece,
                        int64_t count, TargetPlaces& places) {
  TokenBatch batch = set.batch(settings.masking, settings.seed, first_piece, count, settings.window);
  if (settings.last_kept) {
    thin(set.pieces(), first_piece, set.piece_tokens(), settings.seed, *settings.last_kept, batch);
  }
  places.documents.insert(places.documents.end(), batch.target_documents.begin(),
                          batch.target_documents.end());
  for (const int64_t position : batch.target_positions) {
    places.offsets.push_back(position % set.piece_tokens());
  }
  return batch;
}

TargetNll target_nll(const Evaluator& model, const EvaluationSet& set, const EvaluationSettings& settings,
                     const std::function<void(int64_t)>& progress) {
  const torch::NoGradGuard no_grad;
  const int64_t most = std::min<int64_t>(settings.batch_tokens, std::numeric_limits<int32_t>::max());
  const int64_t pieces_per_batch = std::max<int64_t>(1, most / set.piece_tokens());
  TargetNll result;
  torch::Tensor running;  // the batch before, perhaps still on its way through the device
  int64_t running_pieces = 0;
  const auto finish = [&] {
    if (running.defined()) append(running, result.nll);
    if (progress) progress(running_pieces * set.piece_tokens());
  };
  for (int64_t first = 0; first < set.size(); first += pieces_per_batch) {
    const int64_t count = std::min(pieces_per_batch, set.size() - first);
    const TokenBatch batch = target_batch(set, settings, first, count, result.places);
    torch::Tensor nll;
    if (batch.targets() > 0) {
      const DeviceBatch on_device = to_device(batch, settings.device, settings.attention_window);
      const Bf16Autocast autocast(settings.device, settings.bf16);
      nll = masked_lm_nll(model(on_device.input_ids, on_device.layout, on_device.target_positions),
                          on_device.target_ids);
    }
    finish();
    running = nll;
    running_pieces = first + count;
  }
  finish();
  return result;
}

}  // namespace rse
