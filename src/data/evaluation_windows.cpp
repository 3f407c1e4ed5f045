#include "data/evaluation_windows.h"

#include <algorithm>
#include <limits>

#include "core/check.h"

namespace rse {
namespace {

struct DocumentShare {
  uint64_t document = 0;
  uint64_t available = 0;  // whole pieces in it
  uint64_t chosen = 0;
};

// The i-th of `picks` places spread evenly over {0, ..., places - 1}; all differ where picks <= places.
uint64_t spread(uint64_t i, uint64_t picks, uint64_t places) { return (2 * i + 1) * places / (2 * picks); }

// Gives the same number of picks to every document that has pieces left, in rounds; the last, smaller round
// goes to documents that are spread evenly.
void share_out(std::vector<DocumentShare>& shares, uint64_t wanted) {
  while (wanted > 0) {
    std::vector<DocumentShare*> open;
    uint64_t least_left = std::numeric_limits<uint64_t>::max();
    for (DocumentShare& share : shares) {
      if (share.chosen == share.available) continue;
      open.push_back(&share);
      least_left = std::min(least_left, share.available - share.chosen);
    }
    if (open.empty()) return;
    if (wanted < open.size()) {
      for (uint64_t i = 0; i < wanted; ++i) ++open[spread(i, wanted, open.size())]->chosen;
      return;
    }
    const uint64_t each = std::min(least_left, wanted / open.size());
    for (DocumentShare* share : open) share->chosen += each;
    wanted -= each * open.size();
  }
}

void take_first(std::vector<DocumentShare>& shares, uint64_t wanted) {
  for (DocumentShare& share : shares) {
    share.chosen = std::min(wanted, share.available);
    wanted -= share.chosen;
  }
}

}  // namespace

EvaluationSet::EvaluationSet(const TokenFile& file, int64_t piece_tokens, int64_t max_pieces,
                             PieceChoice choice)
    : file_(file), piece_tokens_(piece_tokens) {
  if (piece_tokens < 1) throw_user_error("evaluation piece of {} tokens: expected at least 1", piece_tokens);
  if (max_pieces < 0) throw_user_error("{} evaluation pieces: expected 0 (all) or more", max_pieces);
  const auto length = static_cast<uint64_t>(piece_tokens);
  std::vector<DocumentShare> shares;
  uint64_t longest = 0, total = 0;
  for (uint64_t document = 0; document < file.documents(); ++document) {
    const uint64_t tokens = file.document_length(document);
    longest = std::max(longest, tokens);
    total += tokens / length;
    if (tokens >= length) shares.push_back({document, tokens / length});
  }
  if (shares.empty()) {
    throw_user_error(
        "{}: its longest document has {} tokens: expected at least {} for evaluation at that length",
        file.path().string(), longest, piece_tokens);
  }
  const uint64_t wanted = max_pieces == 0 ? total : static_cast<uint64_t>(max_pieces);
  if (choice == PieceChoice::kSpread) {
    share_out(shares, wanted);
  } else {
    take_first(shares, wanted);
  }
  for (const DocumentShare& share : shares) {
    for (uint64_t i = 0; i < share.chosen; ++i) {
      const uint64_t place = choice == PieceChoice::kSpread ? spread(i, share.chosen, share.available) : i;
      const uint64_t offset = place * length;
      pieces_.push_back({share.document, file.document_begin(share.document) + offset, length, offset});
    }
  }
}

TokenBatch EvaluationSet::batch(const MaskingConfig& masking, uint64_t seed, int64_t first_piece,
                                int64_t count, int64_t window_length) const {
  RSE_ASSERT(first_piece >= 0 && count >= 0 && first_piece + count <= size(), "pieces [{}, {} + {}) of {}",
             first_piece, first_piece, count, size());
  if (window_length < 1 || piece_tokens_ % window_length != 0) {
    throw_user_error("evaluation length {}: expected a divisor of the pieces' {} tokens", window_length,
                     piece_tokens_);
  }
  RSE_ASSERT(count <= std::numeric_limits<int32_t>::max() / piece_tokens_,
             "{} pieces of {} tokens in one batch", count, piece_tokens_);
  TokenBatch batch;
  for (int64_t i = 0; i < count; ++i) {
    append_masked(file_, pieces_[static_cast<size_t>(first_piece + i)], masking, seed, kEvaluationEpoch,
                  batch);
  }
  for (int64_t border = 0; border <= batch.total(); border += window_length) {
    batch.borders.push_back(static_cast<int32_t>(border));
  }
  return batch;
}

}  // namespace rse
