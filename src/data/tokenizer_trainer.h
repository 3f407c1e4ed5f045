// Trains a tokenizer on a corpus of any size: one pass draws a sample of its lines, and SentencePiece learns
// from that.
//
// Invariant: the model is a function of the corpus and the options alone, whatever the machine. Order of
// calls: sample_lines() -> train_tokenizer().
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/parse_number.h"
#include "data/corpus.h"

namespace rse {

inline constexpr Range<int64_t> kVocabularyRange{300, int64_t{1} << 20};
// SentencePiece dies on 2^31 characters, and takes no coverage below 0.98.
inline constexpr Range<int64_t> kSampleRange{int64_t{1} << 20, int64_t{2047} << 20};
inline constexpr Range<double> kCoverageRange{0.98, 1.0};

struct TokenizerOptions {
  int64_t vocab_size = 8192;  // pieces, the 5 special and 256 byte pieces included
  // Bytes of text that SentencePiece sees. Beyond some megabytes the pieces hardly change, while time and
  // memory (about 25 times this) grow with it.
  int64_t sample_bytes = int64_t{16} << 20;  // 1 to 2,047 MiB
  // Share of characters that get a piece, 0.98 to 1; bytes stand in for the rest.
  double character_coverage = 0.9995;
  uint64_t seed = 1;  // of the sample
};

// A uniform sample, without replacement, of lines that together have at most `bytes` bytes. Each line draws a
// priority from (seed, its number), and those below the highest threshold that fits stay. Only the sample is
// in memory.
class LineSample {
 public:
  LineSample(uint64_t seed, size_t bytes) : seed_(seed), limit_(bytes) {}
  void add(std::string_view line);
  uint64_t lines_seen() const { return seen_; }
  size_t bytes() const { return bytes_; }
  std::vector<std::string> take();  // in corpus order

 private:
  struct Entry {
    uint64_t priority, number;
    std::string line;
    bool operator<(const Entry& other) const { return priority < other.priority; }
  };
  uint64_t seed_, seen_ = 0;
  uint64_t threshold_ = ~uint64_t{0};  // the lowest priority turned away so far
  size_t limit_, bytes_ = 0;
  std::priority_queue<Entry> kept_;
};

// The sample of the whole corpus. progress(bytes read of the corpus) is called after every document.
LineSample sample_lines(CorpusReader& corpus, const TokenizerOptions& options,
                        const std::function<void(uint64_t)>& progress);

// The serialized model, its checksum included. UserError where the sample cannot give vocab_size pieces.
std::string train_tokenizer(LineSample sample, const TokenizerOptions& options);

}  // namespace rse
