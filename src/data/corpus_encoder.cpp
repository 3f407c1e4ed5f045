#include "data/corpus_encoder.h"

#include <algorithm>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/bounded_queue.h"
#include "core/check.h"
#include "core/threads.h"
#include "core/utf8.h"
#include "data/text_segments.h"

namespace rse {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 18;
constexpr size_t kChunksPerThread = 8;

struct Encoded {
  std::vector<int> tokens;
  uint64_t characters = 0;
};

// A part of one document, which consists of whole segments.
struct Chunk {
  std::string text;
  bool starts_document = false;
  bool ends_document = false;
  uint64_t bytes_read = 0;  // of the corpus, when the chunk was cut
  std::promise<Encoded> result;
};

class Pipeline {
 public:
  Pipeline(CorpusReader& corpus, const Tokenizer& tokenizer, const EncodingOptions& options, int threads)
      : corpus_(corpus),
        tokenizer_(tokenizer),
        options_(options),
        to_encode_(kChunksPerThread * static_cast<size_t>(threads)),
        in_order_(kChunksPerThread * static_cast<size_t>(threads)) {
    try {
      for (int i = 0; i < threads; ++i) {
        threads_.push_back(start_thread(fmt::format("to encode text ({} of --threads {})", i + 1, threads),
                                        [this] { encode(); }));
      }
      threads_.push_back(start_thread("to read text", [this] { read(); }));
    } catch (...) {
      end_threads();
      throw;
    }
  }

  ~Pipeline() { end_threads(); }

  EncodingTotals write(TokenFileWriter& writer, const std::function<void(uint64_t)>& progress) {
    EncodingTotals totals;
    while (auto chunk = in_order_.pop()) {
      const Encoded encoded = (*chunk)->result.get_future().get();
      writer.append(encoded.tokens);
      totals.tokens += encoded.tokens.size();
      totals.characters += encoded.characters;
      if ((*chunk)->ends_document) {
        writer.end_document();
        ++totals.documents;
      }
      progress((*chunk)->bytes_read);
    }
    return totals;
  }

 private:
  void end_threads() {
    to_encode_.close();
    in_order_.close();
    for (std::thread& thread : threads_) thread.join();
  }

  // A corpus error travels as the result of one more chunk, so that it arrives in order.
  void read() {
    try {
      for (std::string text; corpus_.next(text);) {
        if (!cut_document(text)) break;
      }
    } catch (...) {
      auto failed = std::make_shared<Chunk>();
      failed->result.set_exception(std::current_exception());
      in_order_.push(std::move(failed));
    }
    to_encode_.close();
    in_order_.close();
  }

  // Returns false once the writer has closed the queues.
  bool cut_document(std::string_view text) {
    bool first = true;
    while (!text.empty()) {
      auto chunk = std::make_shared<Chunk>();
      const size_t bytes = segments_bytes(text, kChunkBytes);
      chunk->text = text.substr(0, bytes);
      text.remove_prefix(bytes);
      chunk->starts_document = std::exchange(first, false);
      chunk->ends_document = text.empty();
      chunk->bytes_read = corpus_.bytes_read();
      if (!in_order_.push(chunk) || !to_encode_.push(std::move(chunk))) return false;
    }
    return true;
  }

  void encode() {
    while (auto chunk = to_encode_.pop()) {
      try {
        (*chunk)->result.set_value(encode_chunk(**chunk));
      } catch (...) {
        (*chunk)->result.set_exception(std::current_exception());
      }
    }
  }

  Encoded encode_chunk(const Chunk& chunk) const {
    Encoded encoded;
    if (options_.boundaries && chunk.starts_document) encoded.tokens.push_back(kClsId);
    tokenizer_.encode(chunk.text, encoded.tokens);
    if (options_.boundaries && chunk.ends_document) encoded.tokens.push_back(kSepId);
    encoded.characters = utf8_length(chunk.text);
    return encoded;
  }

  CorpusReader& corpus_;
  const Tokenizer& tokenizer_;
  const EncodingOptions options_;
  BoundedQueue<std::shared_ptr<Chunk>> to_encode_, in_order_;
  std::vector<std::thread> threads_;
};

}  // namespace

void check_encoding_options(const EncodingOptions& options) {
  if (!kEncodingThreads.contains(options.threads)) {
    throw_user_error("{} threads: expected 0 (one per core) to {}", options.threads, kEncodingThreads.high);
  }
}

EncodingTotals encode_corpus(CorpusReader& corpus, const Tokenizer& tokenizer, const EncodingOptions& options,
                             TokenFileWriter& writer, const std::function<void(uint64_t)>& progress) {
  check_encoding_options(options);
  const int cores =
      static_cast<int>(std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, kEncodingThreads.high));
  Pipeline pipeline(corpus, tokenizer, options, options.threads > 0 ? options.threads : cores);
  return pipeline.write(writer, progress);
}

}  // namespace rse
