// Reads and writes token files: documents as token ids, memory-mapped. data/README.md describes the bytes.
//
// A file has a header (magic, version, token width, counts, hashes), the serialized tokenizer, the tokens,
// and the document offsets. Opening takes constant time whatever the size: it checks the header and the
// tokenizer against their checksums, and the offsets where there are at most kOffsetsCheckedOnOpening
// documents. verify() checks everything. Invariant: whatever a damaged file holds, every function either
// returns tokens in [0, vocab_size()) or throws. Errors are UserErrors naming the file, the field, its value
// and what was expected.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/hash.h"

namespace rse {

// The pieces with fixed ids in every tokenizer of this project, and so in every token file.
inline constexpr int64_t kPadId = 0;
inline constexpr int64_t kClsId = 1;
inline constexpr int64_t kSepId = 2;
inline constexpr int64_t kMaskId = 3;
inline constexpr int64_t kUnkId = 4;
inline constexpr int64_t kFirstOrdinaryId = 5;

inline constexpr uint64_t kOffsetsCheckedOnOpening = uint64_t{1} << 22;

class TokenFile {
 public:
  explicit TokenFile(const std::filesystem::path& path);

  uint64_t documents() const;
  uint64_t tokens() const;
  // The token index of the document's first token; document <= documents().
  uint64_t document_begin(uint64_t document) const;
  uint64_t document_length(uint64_t document) const;
  // The document that holds token index `token` (< tokens()), never an empty one; O(log documents).
  uint64_t document_of(uint64_t token) const;
  int64_t token(uint64_t index) const;
  // Copies tokens [begin, begin + length) to `out` as int64.
  void read(uint64_t begin, uint64_t length, int64_t* out) const;

  int64_t vocab_size() const;
  int token_width() const;          // bytes per token: 2 or 4
  uint64_t tokenizer_hash() const;  // xxh64 of tokenizer_model()
  // The header's checksum. The header holds counts and checksums of everything, so two files with the same
  // fingerprint hold the same documents. O(1).
  uint64_t fingerprint() const;
  std::string_view tokenizer_model() const;  // serialized SentencePiece model
  // The entropy of the frequencies of ordinary pieces in the file, in nats: the loss of a model that knows
  // only frequencies. Special pieces are left out, because they are never targets. The writer computed it.
  double unigram_entropy() const;
  // Reads offsets and tokens and compares their checksums.
  void verify() const;
  const std::filesystem::path& path() const;

 private:
  struct View;
  void verify_offsets() const;

  MappedFile file_;
  std::shared_ptr<const View> view_;
};

// Writes a token file as a stream. Memory grows only with the number of documents, by 8 bytes each. Order of
// calls: (append* end_document)* [complete] finish. Nothing appears under `path` before finish().
class TokenFileWriter {
 public:
  // kFirstOrdinaryId < vocab_size <= 2^31; ids up to 65535 are stored in 2 bytes, larger vocabularies in 4.
  TokenFileWriter(const std::filesystem::path& path, std::string_view tokenizer_model, int64_t vocab_size);
  ~TokenFileWriter();
  // Tokens of the open document, each in [0, vocab_size).
  void append(const std::vector<int>& tokens);
  void end_document();
  void add_document(const std::vector<int>& tokens);  // append, then end_document
  // Writes everything, so that finish() only gives the file its name and takes no room on the disk.
  void complete();
  void finish();

  uint64_t documents() const;
  uint64_t tokens() const;
  uint64_t fingerprint() const;  // of the file (TokenFile::fingerprint), after complete()

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rse
