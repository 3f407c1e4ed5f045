#include "data/line_reader.h"

#include <algorithm>

#include "core/check.h"

namespace rse {

namespace {
constexpr size_t kBufferBytes = size_t{1} << 16;
}

std::string_view LineReader::head() {
  RSE_ASSERT(line_number_ == 0, "head() after line {}", line_number_);
  while (buffer_.size() < kHeadBytes) {
    const size_t before = buffer_.size();
    buffer_.resize(kHeadBytes);
    buffer_.resize(before + source_.read(buffer_.data() + before, kHeadBytes - before));
    if (buffer_.size() == before) break;
  }
  return buffer_;
}

// Replaces the spent buffer. Returns false at the end of the file.
bool LineReader::refill() {
  position_ = 0;
  buffer_.resize(kBufferBytes);
  buffer_.resize(source_.read(buffer_.data(), buffer_.size()));
  return !buffer_.empty();
}

bool LineReader::next(std::string& line, size_t limit) {
  line.clear();
  bool any = false;
  if (complete_) ++line_number_;
  complete_ = false;
  while (line.size() < limit) {
    if (position_ == buffer_.size() && !refill()) {
      complete_ = true;
      return any;
    }
    any = true;
    const size_t take = std::min(limit - line.size(), buffer_.size() - position_);
    const std::string_view fresh(buffer_.data() + position_, take);
    const size_t line_feed = fresh.find('\n');
    if (line_feed != std::string_view::npos) {
      line.append(fresh.substr(0, line_feed));
      position_ += line_feed + 1;
      complete_ = true;
      return true;
    }
    line.append(fresh);
    position_ += take;
  }
  return true;
}

}  // namespace rse
