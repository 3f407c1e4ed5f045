// Cuts text into the units in which it is tokenised: lines, and parts of lines that are too long.
//
// Invariant: the tokens of a text are those of its segments, one after another. A segment is found from its
// start alone, so that a text that is cut at any segment border has the same segments. Several threads can
// therefore encode one long document.
#pragma once

#include <cstddef>
#include <string_view>

namespace rse {

// The bytes of the longest segment. Longer lines are cut before the last white space within so many bytes, or
// between two characters where there is none.
inline constexpr size_t kLongestSegment = size_t{1} << 16;

// Bytes from the start of `text` (not empty) to the end of its first segment, its line feed included.
size_t first_segment_bytes(std::string_view text);

// Bytes to the first segment border at or after `wanted` bytes, or text.size().
size_t segments_bytes(std::string_view text, size_t wanted);

}  // namespace rse
