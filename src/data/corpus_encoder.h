// Encodes a corpus into a token file on several threads.
//
// One thread reads documents and cuts them into chunks of whole segments (data/text_segments.h), others
// encode chunks, and the calling thread writes them in order. Invariants: the file is the same for any number
// of threads; memory is bounded by one document and a fixed number of chunks per thread.
#pragma once

#include <cstdint>
#include <functional>

#include "core/parse_number.h"
#include "data/corpus.h"
#include "data/token_file.h"
#include "data/tokenizer.h"

namespace rse {

inline constexpr Range<int64_t> kEncodingThreads{0, 256};

struct EncodingOptions {
  int threads = 0;         // so many threads encode; 0: one per core; kEncodingThreads
  bool boundaries = true;  // every document starts with [CLS] and ends with [SEP]
};

// UserError for an unusable number of threads.
void check_encoding_options(const EncodingOptions& options);

struct EncodingTotals {
  uint64_t documents = 0;
  uint64_t characters = 0;
  uint64_t tokens = 0;
};

// Appends every document of `corpus` to `writer`; the caller calls finish(). progress(bytes read of the
// corpus) is called after every chunk, on the calling thread. What it throws, and what the corpus throws,
// ends the encoding.
EncodingTotals encode_corpus(CorpusReader& corpus, const Tokenizer& tokenizer, const EncodingOptions& options,
                             TokenFileWriter& writer, const std::function<void(uint64_t)>& progress);

}  // namespace rse
