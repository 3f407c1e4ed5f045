#include "data/text_segments.h"

#include <algorithm>

#include "core/utf8.h"
#include "data/visible_text.h"

namespace rse {

size_t first_segment_bytes(std::string_view text) {
  const std::string_view window = text.substr(0, kLongestSegment);
  const size_t line_feed = window.find('\n');
  if (line_feed != std::string_view::npos) return line_feed + 1;
  if (text.size() <= kLongestSegment) return text.size();
  const size_t space = last_white_space(window);
  if (space != std::string_view::npos && space > 0) return space;  // the space belongs to the word after it
  return utf8_border_before(text, kLongestSegment);
}

size_t segments_bytes(std::string_view text, size_t wanted) {
  size_t bytes = 0;
  while (bytes < std::min(wanted, text.size())) bytes += first_segment_bytes(text.substr(bytes));
  return bytes;
}

}  // namespace rse
