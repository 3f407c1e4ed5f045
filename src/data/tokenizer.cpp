#include "data/tokenizer.h"

#include <sentencepiece_processor.h>

#include <array>

#include "core/check.h"
#include "core/file.h"
#include "core/hash.h"
#include "data/model_checksum.h"
#include "data/text_segments.h"
#include "data/token_file.h"

namespace rse {

struct Tokenizer::State {
  std::string model;
  uint64_t hash = 0;
  sentencepiece::SentencePieceProcessor processor;
};

Tokenizer::Tokenizer(std::string serialized, const std::string& name) : state_(std::make_unique<State>()) {
  state_->model = std::move(serialized);
  state_->hash = xxh64(state_->model.data(), state_->model.size());
  const auto& processor = state_->processor;
  const bool checked =
      verify_checksum(state_->model, name);  // before SentencePiece, which trusts what it parses
  if (state_->model.empty() || !state_->processor.LoadFromSerializedProto(state_->model).ok()) {
    throw_user_error("{}: not a SentencePiece model, or a damaged one ({} bytes)", name,
                     state_->model.size());
  }
  const std::array<const char*, kFirstOrdinaryId> special = {"[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"};
  for (int id = 0; id < kFirstOrdinaryId; ++id) {
    const bool there =
        id < processor.GetPieceSize() && processor.IdToPiece(id) == special[static_cast<size_t>(id)];
    const bool right_kind = there && (id == kUnkId ? processor.IsUnknown(id) : processor.IsControl(id));
    if (!right_kind) {
      throw_user_error("{}: piece {} is '{}': expected the {} {}; rse-data train-tokenizer makes such models",
                       name, id, id < processor.GetPieceSize() ? processor.IdToPiece(id) : "",
                       id == kUnkId ? "unknown piece" : "control symbol", special[static_cast<size_t>(id)]);
    }
  }
  if (!processor.IsByte(processor.PieceToId("<0x00>"))) {
    throw_user_error("{}: no byte pieces: expected a model trained with byte fallback", name);
  }
  if (!checked) {
    throw_user_error("{}: no checksum at its end: damaged, or not made by rse-data train-tokenizer", name);
  }
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  return Tokenizer(read_file(path), path.string());
}

int64_t Tokenizer::vocab_size() const { return state_->processor.GetPieceSize(); }
uint64_t Tokenizer::hash() const { return state_->hash; }
const std::string& Tokenizer::model() const { return state_->model; }

void Tokenizer::encode(std::string_view text, std::vector<int>& ids) const {
  std::vector<int> part;
  while (!text.empty()) {
    const size_t bytes = first_segment_bytes(text);
    const auto status = state_->processor.Encode(text.substr(0, bytes), &part);
    RSE_ASSERT(status.ok(), "SentencePiece: {}", status.ToString());
    ids.insert(ids.end(), part.begin(), part.end());
    text.remove_prefix(bytes);
  }
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  encode(text, ids);
  return ids;
}

std::string Tokenizer::decode(const std::vector<int>& ids) const {
  for (int id : ids) RSE_ASSERT(id >= 0 && id < vocab_size(), "piece {} of {}", id, vocab_size());
  std::string text;
  const auto status = state_->processor.Decode(ids, &text);
  RSE_ASSERT(status.ok(), "SentencePiece: {}", status.ToString());
  return text;
}

std::string Tokenizer::piece(int64_t id) const {
  RSE_ASSERT(id >= 0 && id < vocab_size(), "piece {} of {}", id, vocab_size());
  return state_->processor.IdToPiece(static_cast<int>(id));
}

}  // namespace rse
