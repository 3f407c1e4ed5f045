#include "data/masking.h"

#include "core/random.h"

namespace rse {

void MaskingConfig::bind(ConfigBinder& b) {
  b.field("probability", probability, Range<double>{0, 1, true, false});
  b.field("mask_share", mask_share, between(0.0, 1.0));
  b.field("random_share", random_share, between(0.0, 1.0));
  if (b.reading() && mask_share + random_share > 1.0 + 1e-9) {
    throw_user_error("{}: {}: {} with mask_share {}: expected a sum of at most 1", b.where("random_share"),
                     b.path("random_share"), random_share, mask_share);
  }
}

DocumentMask::DocumentMask(const MaskingConfig& config, const MaskingVocabulary& vocabulary, uint64_t seed,
                           uint64_t epoch, uint64_t document)
    : config_(config), vocabulary_(vocabulary), key_(mix_key(mix_key(seed, "masking"), epoch, document)) {}

MaskDraw DocumentMask::draw(uint64_t offset, int64_t token) const {
  if (token < vocabulary_.first_ordinary_id) return {false, token};
  const auto bits = random_bits(key_, offset);
  if (uniform01(bits[0]) >= config_.probability) return {false, token};
  const double kind = uniform01(bits[1]);
  if (kind < config_.mask_share) return {true, vocabulary_.mask_id};
  if (kind >= config_.mask_share + config_.random_share) return {true, token};
  const auto ordinary = static_cast<uint32_t>(vocabulary_.size - vocabulary_.first_ordinary_id);
  return {true, vocabulary_.first_ordinary_id + uniform_below(bits[2], ordinary)};
}

void append_masked(const TokenFile& file, const Piece& piece, const MaskingConfig& config, uint64_t seed,
                   uint64_t epoch, TokenBatch& batch) {
  const size_t first = batch.input_ids.size();
  batch.input_ids.resize(first + piece.length);
  file.read(piece.begin, piece.length, batch.input_ids.data() + first);
  const DocumentMask mask(config, {.size = file.vocab_size()}, seed, epoch, piece.document);
  for (uint64_t i = 0; i < piece.length; ++i) {
    int64_t& id = batch.input_ids[first + i];
    const MaskDraw drawn = mask.draw(piece.offset + i, id);
    if (!drawn.target) continue;
    batch.target_positions.push_back(static_cast<int64_t>(first + i));
    batch.target_ids.push_back(id);
    batch.target_documents.push_back(static_cast<int64_t>(piece.document));
    id = drawn.input_id;
  }
}

}  // namespace rse
