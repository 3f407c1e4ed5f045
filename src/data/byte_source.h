// Reads a file's content as a stream of bytes, decompressed where the file is compressed with zstd or gzip.
//
// The file's first bytes say whether and how it is compressed; its name does not, except that a file named
// .zst or .gz must be compressed. Pipes are read as files are. Order of calls: ByteSource -> read() until it
// returns 0. Errors are UserErrors that name the file: it is unreadable, or its compressed data are damaged,
// cut off, or followed by something else.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "core/hash.h"

namespace rse {

enum class Compression { kNone, kZstd, kGzip };

// "", "zstd" or "gzip".
const char* compression_name(Compression compression);

// What the ending of a file's name says, in letters of either case.
Compression compression_of_name(const std::filesystem::path& path);

class ByteSource {
 public:
  // Opens the file and reads its first bytes.
  explicit ByteSource(const std::filesystem::path& path);
  ~ByteSource();
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  // Reads up to `size` (>= 1) bytes of the content. Returns 0 only at its end.
  size_t read(char* out, size_t size);

  Compression compression() const { return compression_; }
  uint64_t bytes_read() const { return bytes_read_; }  // of the file, before decompression
  uint64_t hash() const { return hash_.digest(); }     // xxh64 of these bytes

 private:
  struct Zstd;
  struct Gzip;
  bool fill();  // replaces the spent raw bytes; returns false at the end of the file
  size_t read_plain(char* out, size_t size);
  size_t read_zstd(char* out, size_t size);
  size_t read_gzip(char* out, size_t size);

  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
  Compression compression_ = Compression::kNone;
  std::unique_ptr<Zstd> zstd_;
  std::unique_ptr<Gzip> gzip_;
  std::string raw_;  // bytes of the file not yet used: [position_, size)
  size_t position_ = 0;
  uint64_t bytes_read_ = 0;
  Xxh64 hash_;
};

}  // namespace rse
