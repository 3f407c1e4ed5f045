// The units that text is tokenised in: lines, and parts of lines that are too long.
//
// A text's tokens are those of its segments, one after another. A segment is found from its start alone, so a
// text cut at any segment border has the same segments: that is what lets one long document be encoded by
// several threads.
#pragma once

#include <cstddef>
#include <string_view>

namespace rse {

// Bytes of the longest segment. Longer lines are cut after their last space before it, or between two
// characters where they have none.
inline constexpr size_t kLongestSegment = size_t{1} << 16;

// Bytes from the start of `text` (not empty) to the end of its first segment, its line feed included.
size_t first_segment_bytes(std::string_view text);

// Bytes to the first segment border at or after `wanted` bytes, or text.size().
size_t segments_bytes(std::string_view text, size_t wanted);

}  // namespace rse
