// A SentencePiece tokenizer (unigram, byte fallback) with this project's special pieces.
//
// Invariants: [PAD] [CLS] [SEP] [MASK] [UNK] have the ids 0 to 4 (data/token_file.h), and no text encodes to
// one of them: the first four are control symbols, which text cannot spell, and bytes stand in for unknown
// characters. Models carry a checksum (data/model_checksum.h): a damaged one is never used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rse {

class Tokenizer {
 public:
  // serialized: a SentencePiece model; name: its name in messages. UserError where it is damaged, has other
  // special pieces, or has no checksum.
  Tokenizer(std::string serialized, const std::string& name);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  static Tokenizer load(const std::filesystem::path& path);

  int64_t vocab_size() const;
  uint64_t hash() const;  // xxh64 of model()
  const std::string& model() const;

  // Appends the ids of `text` (UTF-8): those of its segments (data/text_segments.h), one after another. White
  // space, line feeds among it, separates words and is otherwise not kept. Several threads may call it.
  void encode(std::string_view text, std::vector<int>& ids) const;
  std::vector<int> encode(std::string_view text) const;

  // The text of ids in [0, vocab_size()), as encode() normalises it; special pieces vanish.
  std::string decode(const std::vector<int>& ids) const;
  // The piece's name: "[MASK]", "▁the", "<0x0A>".
  std::string piece(int64_t id) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rse
