#include "data/tokenizer_trainer.h"

#include <sentencepiece_trainer.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <unordered_map>

#include "core/check.h"
#include "core/logging.h"
#include "core/random.h"
#include "core/threads.h"
#include "data/model_checksum.h"
#include "data/text_segments.h"
#include "data/training_lines.h"

namespace rse {
namespace {

// SentencePiece adds up expected counts thread by thread, so that the model depends on their number;
// therefore it is fixed.
constexpr int64_t kTrainerThreads = 8;

void check_options(const TokenizerOptions& options) {
  if (!kVocabularyRange.contains(options.vocab_size)) {
    throw_user_error("vocabulary of {} pieces: expected {} to {}", options.vocab_size, kVocabularyRange.low,
                     kVocabularyRange.high);
  }
  if (!kSampleRange.contains(options.sample_bytes)) {
    throw_user_error("tokenizer sample of {} bytes: expected {} to {}", options.sample_bytes,
                     kSampleRange.low, kSampleRange.high);
  }
  if (!kCoverageRange.contains(options.character_coverage)) {
    throw_user_error("character coverage {}: expected {} to {}", options.character_coverage,
                     kCoverageRange.low, kCoverageRange.high);
  }
}

class LineIterator : public sentencepiece::SentenceIterator {
 public:
  explicit LineIterator(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return next_ == lines_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return lines_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  size_t next_ = 0;
};

// The reason that SentencePiece gives, without its source location: "Internal: file.cc(12) [condition]
// reason". Where it gives none, that is the condition which did not hold.
std::string reason_of(const sentencepiece::util::Status& status) {
  std::string text = status.ToString();
  std::replace(text.begin(), text.end(), '\n', ' ');
  const size_t open = text.find(" ["), close = text.rfind(']');
  if (open == std::string::npos || close == std::string::npos || close < open) return text;
  std::string reason = text.substr(std::min(text.size(), close + 2));
  if (reason.find_first_not_of(' ') != std::string::npos) return reason;
  return fmt::format("SentencePiece expected {}", text.substr(open + 2, close - open - 2));
}

}  // namespace

void LineSample::add(std::string_view line) {
  const auto bits = random_bits(mix_key(seed_, "tokenizer sample"), seen_);
  const uint64_t priority = uint64_t{bits[1]} << 32 | bits[0];
  const uint64_t number = seen_++;
  if (priority >= threshold_) return;
  bytes_ += line.size();
  kept_.push({priority, number, std::string(line)});
  while (bytes_ > limit_) {
    threshold_ = kept_.top().priority;
    bytes_ -= kept_.top().line.size();
    kept_.pop();
  }
}

std::vector<std::string> LineSample::take() {
  std::vector<std::pair<uint64_t, std::string>> numbered;
  for (; !kept_.empty(); kept_.pop()) numbered.emplace_back(kept_.top().number, kept_.top().line);
  bytes_ = 0;
  std::sort(numbered.begin(), numbered.end());
  std::vector<std::string> lines;
  lines.reserve(numbered.size());
  for (auto& [number, line] : numbered) lines.push_back(std::move(line));
  return lines;
}

LineSample sample_lines(CorpusReader& corpus, const TokenizerOptions& options,
                        const std::function<void(uint64_t)>& progress) {
  check_options(options);
  LineSample sample(options.seed, static_cast<size_t>(options.sample_bytes));
  for (std::string text; corpus.next(text);) {
    for (std::string_view rest = text; !rest.empty();) {
      const size_t bytes = first_segment_bytes(rest);
      sample.add(rest.substr(0, bytes));
      rest.remove_prefix(bytes);
    }
    progress(corpus.bytes_read());
  }
  return sample;
}

std::string train_tokenizer(LineSample sample, const TokenizerOptions& options) {
  check_options(options);
  const size_t bytes = sample.bytes();
  std::vector<std::string> sampled = sample.take();
  spdlog::info("training a tokenizer of {} pieces on {} of {} lines, {}", options.vocab_size, sampled.size(),
               sample.lines_seen(), format_bytes(static_cast<double>(bytes)));
  const TrainingLines training = training_lines(std::move(sampled), options.seed);
  if (training.reserved > 0) {
    spdlog::warn("{} of these lines hold U+2585, which SentencePiece reserves: it was read as a space",
                 training.reserved);
  }
  const std::vector<std::string>& lines = training.lines;
  if (lines.empty()) {
    throw_user_error("cannot train a tokenizer on {} lines: they hold no visible character besides U+2585",
                     sample.lines_seen());
  }
  const std::unordered_map<std::string, std::string> arguments = {
      {"model_type", "unigram"},
      {"vocab_size", std::to_string(options.vocab_size)},
      {"byte_fallback", "true"},
      {"character_coverage", fmt::format("{}", options.character_coverage)},
      {"pad_id", "0"},
      {"pad_piece", "[PAD]"},
      {"unk_id", "4"},
      {"unk_piece", "[UNK]"},
      {"bos_id", "-1"},
      {"eos_id", "-1"},
      {"control_symbols", "[CLS],[SEP],[MASK]"},  // these get the free ids 1, 2 and 3
      {"max_sentence_length", std::to_string(kLongestSegment + 1)},
      {"num_threads", std::to_string(kTrainerThreads)},
      {"minloglevel", "3"},
  };
  require_threads(kTrainerThreads, "to train a tokenizer");
  LineIterator iterator(lines);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &iterator, &model);
  if (!status.ok()) {
    throw_user_error(
        "cannot train a tokenizer of {} pieces (--vocab-size) on {} of text, at a --character-coverage "
        "of {}: SentencePiece says: {}",
        options.vocab_size, format_bytes(static_cast<double>(bytes)), options.character_coverage,
        reason_of(status));
  }
  return with_checksum(std::move(model));
}

}  // namespace rse
