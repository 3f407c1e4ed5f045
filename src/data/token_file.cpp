#include "data/token_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "data/token_file_format.h"

namespace rse {

using token_file_format::Header;

// The mapped parts of the file, whose sizes were checked against the file's.
struct TokenFile::View {
  Header header;
  std::string_view tokenizer;
  const std::byte* tokens = nullptr;
  const uint64_t* offsets = nullptr;  // [documents + 1], token indices

  int64_t token(uint64_t index) const {
    if (header.token_width == 2) return reinterpret_cast<const uint16_t*>(tokens)[index];
    return reinterpret_cast<const uint32_t*>(tokens)[index];
  }
};

namespace {

constexpr const char* kRemedy = "make it again with rse-data";

// Reads and checks the header alone.
Header read_header(const MappedFile& file) {
  const std::string name = file.path().string();
  Header header{};
  if (file.size() < sizeof header) {
    throw_user_error("{}: {} bytes: expected a token file (at least {} bytes)", name, file.size(),
                     sizeof header);
  }
  std::memcpy(&header, file.data(), sizeof header);
  if (std::memcmp(header.magic, token_file_format::kMagic, sizeof header.magic) != 0) {
    throw_user_error("{}: not a token file (expected the magic RSETOK1 at its start)", name);
  }
  if (header.version != token_file_format::kVersion) {
    throw_user_error("{}: token file version {}: this program reads version {}", name, header.version,
                     token_file_format::kVersion);
  }
  if (header.header_checksum != token_file_format::checksum_of(header)) {
    throw_user_error("{}: damaged header: checksum {}, expected {}; {}", name,
                     hex64(token_file_format::checksum_of(header)), hex64(header.header_checksum), kRemedy);
  }
  if (header.token_width != 2 && header.token_width != 4) {
    throw_user_error("{}: token width {}: expected 2 or 4", name, header.token_width);
  }
  const uint64_t most = header.token_width == 2 ? uint64_t{1} << 16 : uint64_t{1} << 31;
  if (header.vocab_size <= static_cast<uint64_t>(kFirstOrdinaryId) || header.vocab_size > most) {
    throw_user_error("{}: vocabulary of {} pieces: expected {} to {} for tokens of {} bytes", name,
                     header.vocab_size, kFirstOrdinaryId + 1, most, header.token_width);
  }
  if (!std::isfinite(header.unigram_entropy) || header.unigram_entropy < 0) {
    throw_user_error("{}: unigram entropy {}: expected a number >= 0", name, header.unigram_entropy);
  }
  return header;
}

// Gives out the parts of the file one after another, never beyond its end.
class Sections {
 public:
  Sections(const MappedFile& file, uint64_t begin) : file_(file), position_(begin) {}

  const std::byte* take(const char* what, uint64_t count, uint64_t width) {
    const uint64_t left = file_.size() - position_;
    if (count > left / width) {
      throw_user_error(
          "{}: truncated: expected {} {} of {} bytes each at byte {}, but the file ends at byte {}; {}",
          file_.path().string(), count, what, width, position_, file_.size(), kRemedy);
    }
    const std::byte* begin = file_.data() + position_;
    position_ += count * width;
    return begin;
  }
  void align() {
    const uint64_t bytes = token_file_format::padding_after(position_);
    const std::byte* padding = take("bytes of padding", bytes, 1);
    if (std::any_of(padding, padding + bytes, [](std::byte byte) { return byte != std::byte{0}; })) {
      throw_user_error("{}: damaged padding before byte {}: expected zeros; {}", file_.path().string(),
                       position_, kRemedy);
    }
  }
  void finish() const {
    if (position_ != file_.size()) {
      throw_user_error("{}: {} bytes after its end: expected {} bytes; {}", file_.path().string(),
                       file_.size() - position_, position_, kRemedy);
    }
  }

 private:
  const MappedFile& file_;
  uint64_t position_;
};

}  // namespace

TokenFile::TokenFile(const std::filesystem::path& path) : file_(path) {
  auto view = std::make_shared<View>();
  view->header = read_header(file_);
  const Header& header = view->header;
  Sections sections(file_, sizeof header);
  const auto* tokenizer = sections.take("tokenizer bytes", header.tokenizer_bytes, 1);
  view->tokenizer = {reinterpret_cast<const char*>(tokenizer), header.tokenizer_bytes};
  sections.align();
  view->tokens = sections.take("tokens", header.tokens, header.token_width);
  sections.align();
  const auto* first = sections.take("document offsets", 1, sizeof(uint64_t));
  sections.take("document offsets", header.documents, sizeof(uint64_t));
  sections.finish();
  view->offsets = reinterpret_cast<const uint64_t*>(first);
  const uint64_t hash = xxh64(view->tokenizer.data(), view->tokenizer.size());
  if (hash != header.tokenizer_hash) {
    throw_user_error("{}: damaged tokenizer: hash {}, expected {}; {}", path.string(), hex64(hash),
                     hex64(header.tokenizer_hash), kRemedy);
  }
  view_ = std::move(view);
#ifndef RSE_OFFSETS_CHECKED_LATER  // fuzzing reads small files the way that large ones are read
  if (documents() <= kOffsetsCheckedOnOpening) verify_offsets();
#endif
}

uint64_t TokenFile::documents() const { return view_->header.documents; }
uint64_t TokenFile::tokens() const { return view_->header.tokens; }
int64_t TokenFile::vocab_size() const { return static_cast<int64_t>(view_->header.vocab_size); }
int TokenFile::token_width() const { return static_cast<int>(view_->header.token_width); }
uint64_t TokenFile::tokenizer_hash() const { return view_->header.tokenizer_hash; }
uint64_t TokenFile::fingerprint() const { return view_->header.header_checksum; }
std::string_view TokenFile::tokenizer_model() const { return view_->tokenizer; }
double TokenFile::unigram_entropy() const { return view_->header.unigram_entropy; }
const std::filesystem::path& TokenFile::path() const { return file_.path(); }

uint64_t TokenFile::document_begin(uint64_t document) const {
  RSE_ASSERT(document <= documents(), "document {} of {}", document, documents());
  const uint64_t begin = view_->offsets[document];
  if (begin > tokens()) {
    throw_user_error("{}: damaged offset of document {}: token {}, expected at most {}; {}", path().string(),
                     document, begin, tokens(), kRemedy);
  }
  return begin;
}

uint64_t TokenFile::document_length(uint64_t document) const {
  RSE_ASSERT(document < documents(), "document {} of {}", document, documents());
  const uint64_t begin = document_begin(document), end = document_begin(document + 1);
  if (begin > end) {
    throw_user_error("{}: damaged offset of document {}: token {}, expected at least {}; {}", path().string(),
                     document + 1, end, begin, kRemedy);
  }
  return end - begin;
}

uint64_t TokenFile::document_of(uint64_t token) const {
  RSE_ASSERT(token < tokens(), "token {} of {}", token, tokens());
  const uint64_t* begin = view_->offsets;
  const uint64_t* above = std::upper_bound(begin, begin + documents(), token);
  if (above == begin) {
    throw_user_error("{}: damaged offset of document 0: token {}, expected 0; {}", path().string(), *begin,
                     kRemedy);
  }
  return static_cast<uint64_t>(above - begin) - 1;
}

int64_t TokenFile::token(uint64_t index) const {
  int64_t value = 0;
  read(index, 1, &value);
  return value;
}

void TokenFile::read(uint64_t begin, uint64_t length, int64_t* out) const {
  RSE_ASSERT(begin <= tokens() && length <= tokens() - begin, "tokens [{}, {} + {}) of {}", begin, begin,
             length, tokens());
  int64_t largest = 0;
  for (uint64_t i = 0; i < length; ++i) {
    out[i] = view_->token(begin + i);
    largest = std::max(largest, out[i]);
  }
  if (largest >= vocab_size()) {
    throw_user_error("{}: damaged tokens: id {} among tokens {} to {}, expected ids below {}; {}",
                     path().string(), largest, begin, begin + length, vocab_size(), kRemedy);
  }
}

void TokenFile::verify_offsets() const {
  const uint64_t checksum = xxh64(view_->offsets, (documents() + 1) * sizeof(uint64_t));
  if (checksum != view_->header.offsets_checksum) {
    throw_user_error("{}: damaged document offsets: checksum {}, expected {}; {}", path().string(),
                     hex64(checksum), hex64(view_->header.offsets_checksum), kRemedy);
  }
  for (uint64_t document = 0; document < documents(); ++document) document_length(document);
  if (document_begin(0) != 0 || document_begin(documents()) != tokens()) {
    throw_user_error("{}: document offsets run from {} to {}: expected 0 to {}; {}", path().string(),
                     document_begin(0), document_begin(documents()), tokens(), kRemedy);
  }
}

void TokenFile::verify() const {
  verify_offsets();
  const uint64_t checksum = xxh64(view_->tokens, tokens() * view_->header.token_width);
  if (checksum != view_->header.tokens_checksum) {
    throw_user_error("{}: damaged tokens: checksum {}, expected {}; {}", path().string(), hex64(checksum),
                     hex64(view_->header.tokens_checksum), kRemedy);
  }
  std::vector<int64_t> block(size_t{1} << 16);
  for (uint64_t begin = 0; begin < tokens(); begin += block.size()) {
    read(begin, std::min<uint64_t>(block.size(), tokens() - begin), block.data());
  }
}

}  // namespace rse
