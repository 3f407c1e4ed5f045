#include "data/sequences.h"

#include <algorithm>
#include <limits>

#include "core/check.h"

namespace rse {

const EnumNames<Packing>& packing_names() {
  static const EnumNames<Packing> kNames = {{"packed", Packing::kPacked}, {"document", Packing::kDocument}};
  return kNames;
}

SequenceSet::SequenceSet(const TokenFile& file, int64_t seq_len, Packing packing, int64_t min_tokens)
    : file_(file), seq_len_(seq_len), packing_(packing) {
  if (seq_len < 1) throw_user_error("sequence length {}: expected at least 1", seq_len);
  const auto length = static_cast<uint64_t>(seq_len);
  if (packing == Packing::kPacked) {
    size_ = file.tokens() / length;
    if (size_ == 0) {
      throw_user_error("{}: {} tokens give no packed sequence of {} tokens", file.path().string(),
                       file.tokens(), seq_len);
    }
    return;
  }
  if (min_tokens < 1 || min_tokens > seq_len) {
    throw_user_error("min_tokens {}: expected 1 to {} (the sequence length)", min_tokens, seq_len);
  }
  first_sequence_.reserve(file.documents() + 1);
  for (uint64_t document = 0; document < file.documents(); ++document) {
    first_sequence_.push_back(size_);
    const uint64_t tokens = file.document_length(document);
    size_ += tokens / length + (tokens % length >= static_cast<uint64_t>(min_tokens) ? 1 : 0);
  }
  first_sequence_.push_back(size_);
  if (size_ == 0) {
    throw_user_error("{}: none of its {} documents has {} tokens (min_tokens)", file.path().string(),
                     file.documents(), min_tokens);
  }
}

std::vector<Piece> SequenceSet::pieces(uint64_t index) const {
  RSE_ASSERT(index < size_, "sequence {} of {}", index, size_);
  const auto length = static_cast<uint64_t>(seq_len_);
  if (packing_ == Packing::kDocument) {
    const auto above = std::upper_bound(first_sequence_.begin(), first_sequence_.end(), index);
    const auto document = static_cast<uint64_t>(above - first_sequence_.begin()) - 1;
    const uint64_t offset = (index - first_sequence_[document]) * length;
    const uint64_t tokens = std::min(length, file_.document_length(document) - offset);
    return {{document, file_.document_begin(document) + offset, tokens, offset}};
  }
  std::vector<Piece> found;
  uint64_t begin = index * length;
  const uint64_t end = begin + length;
  while (begin < end) {
    const uint64_t document = file_.document_of(begin);
    const uint64_t document_begin = file_.document_begin(document);
    const uint64_t stop = std::min(end, document_begin + file_.document_length(document));
    if (stop <= begin) {
      throw_user_error("{}: damaged offset of document {}", file_.path().string(), document + 1);
    }
    found.push_back({document, begin, stop - begin, begin - document_begin});
    begin = stop;
  }
  return found;
}

uint64_t SequenceSet::shuffled(uint64_t seed, uint64_t epoch, uint64_t position) const {
  return Permutation(mix_key(mix_key(seed, "order"), epoch), size_)(position);
}

TokenBatch training_batch(const TokenFile& file, const SequenceSet& set, const MaskingConfig& masking,
                          uint64_t seed, uint64_t first, int64_t count) {
  TokenBatch batch;
  batch.borders = {0};
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t number = first + static_cast<uint64_t>(i);
    const uint64_t epoch = number / set.size();
    for (const Piece& piece : set.pieces(set.shuffled(seed, epoch, number % set.size()))) {
      append_masked(file, piece, masking, seed, epoch, batch);
      RSE_ASSERT(batch.total() <= std::numeric_limits<int32_t>::max(), "a batch of {} tokens", batch.total());
      batch.borders.push_back(static_cast<int32_t>(batch.total()));
    }
  }
  return batch;
}

}  // namespace rse
