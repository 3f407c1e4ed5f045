// Decides which tokens make up the sequence at each position of each epoch.
//
// Invariant: a sequence is a pure function of (seed, epoch, position), found without reading what comes
// before it. With kPacked the corpus is one stream that is cut into blocks of seq_len tokens without padding;
// a block may hold the end of one document and the start of the next, as separate attention sequences, and
// the last, shorter block of the corpus is left out. With kDocument every sequence lies inside one document;
// a document's last, shorter piece is kept where it has at least min_tokens tokens. Empty documents give
// nothing. Order of calls: SequenceSet -> training_batch() for any sequences.
#pragma once

#include <cstdint>
#include <vector>

#include "core/enum_names.h"
#include "core/random.h"
#include "data/batch.h"
#include "data/masking.h"
#include "data/token_file.h"

namespace rse {

enum class Packing { kPacked, kDocument };
const EnumNames<Packing>& packing_names();  // packed, document

class SequenceSet {
 public:
  // seq_len >= 1; 1 <= min_tokens <= seq_len, which kDocument alone uses. UserError for other values, and
  // where the corpus gives no sequence at all. file outlives the set.
  SequenceSet(const TokenFile& file, int64_t seq_len, Packing packing, int64_t min_tokens);

  uint64_t size() const { return size_; }  // sequences per epoch

  // The pieces of sequence `index` (< size) in file order: one, or with kPacked several. O(log documents).
  std::vector<Piece> pieces(uint64_t index) const;

  // The index that stands at `position` (< size) in the shuffled order of (seed, epoch).
  uint64_t shuffled(uint64_t seed, uint64_t epoch, uint64_t position) const;

 private:
  const TokenFile& file_;
  int64_t seq_len_;
  Packing packing_;
  uint64_t size_ = 0;
  std::vector<uint64_t> first_sequence_;  // kDocument: [documents + 1], sequences before each document
};

// The training batch that starts at global sequence number `first` (epoch = number / size) and holds `count`
// sequences. Masks are keyed by (seed, epoch, document, offset): the same token of the same epoch is masked
// alike in any batch.
TokenBatch training_batch(const TokenFile& file, const SequenceSet& set, const MaskingConfig& masking,
                          uint64_t seed, uint64_t first, int64_t count);

}  // namespace rse
