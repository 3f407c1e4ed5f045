// The checksum at the end of a tokenizer's serialized model, because SentencePiece's format has none. It is
// the XXH64 of all bytes before it, in an extension field of ModelProto that SentencePiece itself ignores.
#pragma once

#include <string>
#include <string_view>

namespace rse {

std::string with_checksum(std::string model);

// Returns false where `model` has no checksum. UserError naming `name` where it has one that does not match.
bool verify_checksum(std::string_view model, const std::string& name);

}  // namespace rse
