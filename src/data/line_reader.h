// Reads a text file, plain or compressed with zstd or gzip, line by line as a stream.
//
// Order of calls: LineReader -> [head()] -> next() until it returns false. Errors are those of ByteSource.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "data/byte_source.h"

namespace rse {

class LineReader {
 public:
  explicit LineReader(const std::filesystem::path& path) : source_(path) {}

  // The first bytes of the text: at least kHeadBytes of them, or all where it has fewer. They stay to be read
  // by next(). The view is valid up to the first call of next().
  static constexpr size_t kHeadBytes = size_t{1} << 16;
  std::string_view head();
  // Reads the next line without its line feed, or its next part: at most `limit` bytes (>= 1). Returns false
  // at the end of the file.
  bool next(std::string& line, size_t limit);
  // Whether the last call read to the end of a line or of the file.
  bool line_complete() const { return complete_; }
  // The number of the line that the last call read from, counted from 1.
  uint64_t line_number() const { return line_number_; }
  const ByteSource& source() const { return source_; }

 private:
  bool refill();

  ByteSource source_;
  std::string buffer_;  // text not yet handed out: [position_, size)
  size_t position_ = 0;
  uint64_t line_number_ = 0;
  bool complete_ = true;
};

}  // namespace rse
