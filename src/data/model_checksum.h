// The checksum that a tokenizer's serialized model carries at its end, because SentencePiece's format has
// none: XXH64 of all bytes before it, in an extension field of ModelProto that SentencePiece itself passes
// over.
#pragma once

#include <string>
#include <string_view>

namespace rse {

std::string with_checksum(std::string model);

// False where `model` has no checksum; UserError naming `name` where it has one that does not match.
bool verify_checksum(std::string_view model, const std::string& name);

}  // namespace rse
