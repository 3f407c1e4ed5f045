#include <cmath>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "data/token_file.h"
#include "data/token_file_format.h"

namespace rse {

using token_file_format::Header;

struct TokenFileWriter::State {
  explicit State(const std::filesystem::path& path) : file(path) {}

  void pad() {
    const char zeros[token_file_format::kAlignment] = {};
    file.write(zeros, token_file_format::padding_after(file.position()));
  }

  AtomicFile file;
  Header header{};
  Xxh64 tokens_hash;
  std::vector<uint64_t> offsets = {0};
  std::vector<uint64_t> frequencies;
  std::vector<std::byte> encoded;
  bool complete = false;
};

namespace {

double entropy_of_ordinary_pieces(const std::vector<uint64_t>& frequencies) {
  double total = 0;
  for (size_t id = kFirstOrdinaryId; id < frequencies.size(); ++id)
    total += static_cast<double>(frequencies[id]);
  double entropy = 0;
  for (size_t id = kFirstOrdinaryId; id < frequencies.size(); ++id) {
    if (frequencies[id] == 0) continue;
    const double share = static_cast<double>(frequencies[id]) / total;
    entropy -= share * std::log(share);
  }
  return std::max(0.0, entropy);
}

template <typename T>
void encode_tokens(const std::vector<int>& tokens, std::vector<std::byte>& out) {
  out.resize(tokens.size() * sizeof(T));
  for (size_t i = 0; i < tokens.size(); ++i) {
    const T value = static_cast<T>(tokens[i]);
    std::memcpy(out.data() + i * sizeof(T), &value, sizeof(T));
  }
}

}  // namespace

TokenFileWriter::TokenFileWriter(const std::filesystem::path& path, std::string_view tokenizer_model,
                                 int64_t vocab_size) {
  RSE_ASSERT(vocab_size > kFirstOrdinaryId && vocab_size <= int64_t{1} << 31, "vocabulary of {}", vocab_size);
  state_ = std::make_unique<State>(path);
  Header& header = state_->header;
  std::memcpy(header.magic, token_file_format::kMagic, sizeof header.magic);
  header.version = token_file_format::kVersion;
  header.token_width = vocab_size <= int64_t{1} << 16 ? 2 : 4;
  header.vocab_size = static_cast<uint64_t>(vocab_size);
  header.tokenizer_bytes = tokenizer_model.size();
  header.tokenizer_hash = xxh64(tokenizer_model.data(), tokenizer_model.size());
  state_->frequencies.resize(static_cast<size_t>(vocab_size));
  state_->file.write(&header, sizeof header);  // its final content is written last
  state_->file.write(tokenizer_model.data(), tokenizer_model.size());
  state_->pad();
}

TokenFileWriter::~TokenFileWriter() = default;

uint64_t TokenFileWriter::documents() const { return state_->header.documents; }
uint64_t TokenFileWriter::tokens() const { return state_->header.tokens; }

uint64_t TokenFileWriter::fingerprint() const {
  RSE_ASSERT(state_->complete, "fingerprint() before complete()");
  return state_->header.header_checksum;
}

void TokenFileWriter::append(const std::vector<int>& tokens) {
  Header& header = state_->header;
  for (int token : tokens) {
    RSE_ASSERT(token >= 0 && static_cast<uint64_t>(token) < header.vocab_size, "token {} of {}", token,
               header.vocab_size);
    ++state_->frequencies[static_cast<size_t>(token)];
  }
  if (header.token_width == 2) {
    encode_tokens<uint16_t>(tokens, state_->encoded);
  } else {
    encode_tokens<uint32_t>(tokens, state_->encoded);
  }
  state_->tokens_hash.update(state_->encoded.data(), state_->encoded.size());
  state_->file.write(state_->encoded.data(), state_->encoded.size());
  header.tokens += tokens.size();
}

void TokenFileWriter::end_document() {
  ++state_->header.documents;
  state_->offsets.push_back(state_->header.tokens);
}

void TokenFileWriter::add_document(const std::vector<int>& tokens) {
  append(tokens);
  end_document();
}

void TokenFileWriter::complete() {
  if (std::exchange(state_->complete, true)) return;
  Header& header = state_->header;
  RSE_ASSERT(state_->offsets.back() == header.tokens, "{} tokens after the last document's end",
             header.tokens - state_->offsets.back());
  state_->pad();
  const size_t offset_bytes = state_->offsets.size() * sizeof(uint64_t);
  state_->file.write(state_->offsets.data(), offset_bytes);
  header.offsets_checksum = xxh64(state_->offsets.data(), offset_bytes);
  header.tokens_checksum = state_->tokens_hash.digest();
  header.unigram_entropy = entropy_of_ordinary_pieces(state_->frequencies);
  header.header_checksum = token_file_format::checksum_of(header);
  state_->file.write_at(0, &header, sizeof header);
}

void TokenFileWriter::finish() {
  complete();
  state_->file.commit();
}

}  // namespace rse
