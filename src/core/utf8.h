// UTF-8 as text files have it: whether it is valid, and where text may be cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rse {

// The index of the first byte that is not part of valid UTF-8, or text.size(). Overlong forms, surrogates and
// code points above U+10FFFF are not valid.
size_t utf8_error_position(std::string_view text);

// The largest index <= position that is not inside a code point, where the text up to there is valid.
size_t utf8_border_before(std::string_view text, size_t position);

// Code points in valid text.
uint64_t utf8_length(std::string_view text);

}  // namespace rse
