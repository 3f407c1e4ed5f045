// Which characters of a text can be seen, and where its words end.
//
// A tokenizer drops most of the characters that cannot be seen, so that a text of nothing else has no tokens.
// Every function expects valid UTF-8.
#pragma once

#include <cstddef>
#include <string_view>

namespace rse {

// Whether a character of `text` can be seen. White space, control characters, characters that Unicode says
// are to be ignored in display (U+200B, U+FEFF and their like), the replacement character U+FFFD, and U+2581,
// which SentencePiece reads as a space, cannot.
bool has_visible_character(std::string_view text);

// Bytes of the white-space character (Unicode's property White_Space, or U+200B) that `text` begins with, or
// 0.
size_t white_space_bytes(std::string_view text);

// The index at which the last white-space character of `text` begins, or npos.
size_t last_white_space(std::string_view text);

}  // namespace rse
