// Fixed targets for evaluation at several lengths (src/eval/README.md section 2): the same texts, the same
// targets with the same replacements whatever the window; only the segmentation differs.
//
// Documents are cut into pieces of piece_tokens tokens, a multiple of the longest window to come; what a
// document has beyond its last whole piece is left out. A batch cuts pieces into windows. Masks are keyed by
// (seed, document, offset) under kEvaluationEpoch. Order of calls: EvaluationSet -> batch() for any pieces.
#pragma once

#include <cstdint>
#include <vector>

#include "data/batch.h"
#include "data/masking.h"
#include "data/token_file.h"

namespace rse {

// Which pieces are taken where not all are wanted: kSpread takes them as evenly over the documents as their
// lengths allow, and evenly inside each; kFirst takes the first ones of the file.
enum class PieceChoice { kSpread, kFirst };

class EvaluationSet {
 public:
  // max_pieces: at most so many pieces; 0: all. They are a function of the file and these arguments alone.
  // file outlives the set. UserError where no document has piece_tokens tokens.
  EvaluationSet(const TokenFile& file, int64_t piece_tokens, int64_t max_pieces,
                PieceChoice choice = PieceChoice::kSpread);

  int64_t size() const { return static_cast<int64_t>(pieces_.size()); }
  int64_t piece_tokens() const { return piece_tokens_; }
  const std::vector<Piece>& pieces() const { return pieces_; }  // in file order

  // Pieces [first_piece, first_piece + count), cut into windows of window_length, which divides piece_tokens
  // (UserError).
  TokenBatch batch(const MaskingConfig& masking, uint64_t seed, int64_t first_piece, int64_t count,
                   int64_t window_length) const;

 private:
  const TokenFile& file_;
  int64_t piece_tokens_;
  std::vector<Piece> pieces_;
};

}  // namespace rse
