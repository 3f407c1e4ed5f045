// Draws the targets of masked language modelling (BERT's 80/10/10).
//
// Invariant: each token is decided alone by a counter-based draw, a pure function of (seed, epoch, document,
// offset in the document).
#pragma once

#include <cstdint>
#include <vector>

#include "core/config_binder.h"
#include "data/batch.h"
#include "data/token_file.h"

namespace rse {

struct MaskingConfig {
  double probability = 0.15;  // that a token becomes a target
  double mask_share = 0.8;    // of targets: replaced by [MASK]
  double random_share = 0.1;  // of targets: replaced by a random ordinary piece; the rest stays
  bool operator==(const MaskingConfig&) const = default;
  void bind(ConfigBinder& b);  // checks that mask_share + random_share <= 1
};

// What masking needs to know of a vocabulary. Special pieces are neither targets nor replacements.
struct MaskingVocabulary {
  int64_t size = 0;
  int64_t mask_id = kMaskId;
  int64_t first_ordinary_id = kFirstOrdinaryId;  // ids below are special
};

struct MaskDraw {
  bool target = false;
  int64_t input_id = 0;  // the token that the model sees at this place
};

// The epoch that stands for evaluation: its masks differ from those of every training epoch.
inline constexpr uint64_t kEvaluationEpoch = ~uint64_t{0};

// The draws of one document in one epoch.
class DocumentMask {
 public:
  DocumentMask(const MaskingConfig& config, const MaskingVocabulary& vocabulary, uint64_t seed,
               uint64_t epoch, uint64_t document);
  // The draw for `token`, which stands at `offset` in the document.
  MaskDraw draw(uint64_t offset, int64_t token) const;

 private:
  MaskingConfig config_;
  MaskingVocabulary vocabulary_;
  uint64_t key_;
};

// A run of tokens inside one document.
struct Piece {
  uint64_t document = 0;
  uint64_t begin = 0;   // token index in the file
  uint64_t length = 0;  // tokens
  uint64_t offset = 0;  // begin's position inside its document
};

// Appends the piece's tokens, masked, and its targets to `batch`. Borders are the caller's.
void append_masked(const TokenFile& file, const Piece& piece, const MaskingConfig& config, uint64_t seed,
                   uint64_t epoch, TokenBatch& batch);

}  // namespace rse
