// Reads a text file, plain or compressed with zstd, line by line as a stream.
//
// Order of calls: LineReader -> next() until it returns false. Errors are UserErrors that name the file: it
// is unreadable, or its zstd data are damaged or cut off.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace rse {

class LineReader {
 public:
  // compressed: the file consists of zstd frames.
  LineReader(const std::filesystem::path& path, bool compressed);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // Reads the next line without its line feed, or its next part: at most `limit` bytes (>= 1). Returns false
  // at the end of the file.
  bool next(std::string& line, size_t limit);
  // Whether the last call read to the end of a line or of the file.
  bool line_complete() const { return complete_; }
  // The number of the line that the last call read from, counted from 1.
  uint64_t line_number() const { return line_number_; }
  // Bytes of the file read so far, before decompression.
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  struct Decompressor;
  bool refill();
  size_t read_file(void* out, size_t size);

  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
  std::unique_ptr<Decompressor> decompressor_;  // absent for plain files
  std::string buffer_;                          // text not yet handed out: [position_, size)
  size_t position_ = 0;
  uint64_t bytes_read_ = 0;
  uint64_t line_number_ = 0;
  bool complete_ = true;
};

}  // namespace rse
