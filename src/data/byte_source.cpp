#include "data/byte_source.h"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "core/check.h"

namespace rse {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 16;
constexpr int kGzipOnly = 16;  // added to zlib's window bits: expect gzip's header and trailer

// Frames of zstd, skippable frames, with which a file may begin, and frames of its versions before 0.8.
bool starts_zstd(std::string_view bytes) {
  if (bytes.size() < 4) return false;
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (bytes.substr(1, 3) == "\x2A\x4D\x18") return first >> 4 == 5;
  return bytes.substr(1, 3) == "\xB5\x2F\xFD" && first >= 0x22 && first <= 0x28;
}

bool starts_gzip(std::string_view bytes) { return bytes.starts_with("\x1F\x8B"); }

std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

}  // namespace

const char* compression_name(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "";
    case Compression::kZstd:
      return "zstd";
    case Compression::kGzip:
      return "gzip";
  }
  return "";
}

Compression compression_of_name(const std::filesystem::path& path) {
  const std::string ending = lower_case(path.extension().string());
  return ending == ".zst" ? Compression::kZstd : ending == ".gz" ? Compression::kGzip : Compression::kNone;
}

struct ByteSource::Zstd {
  Zstd() : stream(ZSTD_createDStream()) {
    RSE_ASSERT(stream != nullptr, "out of memory");
    // The library itself stops at windows of 128 MiB, which protects servers from large requests.
    const int largest = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax).upperBound;
    const size_t result = ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, largest);
    RSE_ASSERT(ZSTD_isError(result) == 0, "zstd: {}", ZSTD_getErrorName(result));
  }
  ~Zstd() { ZSTD_freeDStream(stream); }

  ZSTD_DStream* stream;
  bool inside_frame = false;
};

struct ByteSource::Gzip {
  Gzip() {
    const int result = inflateInit2(&stream, MAX_WBITS + kGzipOnly);
    RSE_ASSERT(result == Z_OK, "zlib: error {}", result);
  }
  ~Gzip() { inflateEnd(&stream); }

  z_stream stream{};
  bool inside_member = false;
  uint64_t members = 0;  // complete ones
};

ByteSource::ByteSource(const std::filesystem::path& path)
    : path_(path), file_(std::fopen(path.c_str(), "rb")) {
  if (file_ == nullptr) throw_user_error("cannot open {}: {}", path.string(), std::strerror(errno));
  try {
    const bool empty = !fill();
    if (starts_zstd(raw_)) {
      compression_ = Compression::kZstd;
      zstd_ = std::make_unique<Zstd>();
    } else if (starts_gzip(raw_)) {
      compression_ = Compression::kGzip;
      gzip_ = std::make_unique<Gzip>();
    } else if (const Compression named = compression_of_name(path); named != Compression::kNone && !empty) {
      throw_user_error("{}: damaged {} data, or none: expected what the name's ending says", path.string(),
                       compression_name(named));
    }
  } catch (...) {
    std::fclose(file_);
    throw;
  }
}

ByteSource::~ByteSource() { std::fclose(file_); }

bool ByteSource::fill() {
  raw_.resize(kBufferBytes);
  const size_t got = std::fread(raw_.data(), 1, raw_.size(), file_);
  if (got < raw_.size() && std::ferror(file_) != 0) {
    throw_user_error("cannot read {}: {}", path_.string(), std::strerror(errno));
  }
  raw_.resize(got);
  position_ = 0;
  bytes_read_ += got;
  hash_.update(raw_.data(), got);
  return got > 0;
}

size_t ByteSource::read(char* out, size_t size) {
  switch (compression_) {
    case Compression::kNone:
      return read_plain(out, size);
    case Compression::kZstd:
      return read_zstd(out, size);
    case Compression::kGzip:
      return read_gzip(out, size);
  }
  return 0;
}

size_t ByteSource::read_plain(char* out, size_t size) {
  if (position_ == raw_.size() && !fill()) return 0;
  const size_t bytes = std::min(size, raw_.size() - position_);
  std::memcpy(out, raw_.data() + position_, bytes);
  position_ += bytes;
  return bytes;
}

size_t ByteSource::read_zstd(char* out, size_t size) {
  ZSTD_outBuffer output = {out, size, 0};
  while (output.pos == 0) {
    if (position_ == raw_.size() && !fill()) {
      if (zstd_->inside_frame) throw_user_error("{}: zstd data ends too early", path_.string());
      break;
    }
    ZSTD_inBuffer input = {raw_.data(), raw_.size(), position_};
    const size_t left = ZSTD_decompressStream(zstd_->stream, &output, &input);
    position_ = input.pos;
    if (ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge) {
      throw_user_error("{}: zstd data with a window of over 2 GiB: expected at most that (zstd --long=31)",
                       path_.string());
    }
    if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation) {
      throw_user_error("{}: not enough memory for the window of its zstd data", path_.string());
    }
    if (ZSTD_isError(left) != 0) {
      throw_user_error("{}: damaged zstd data near byte {}: {}", path_.string(), bytes_read_,
                       ZSTD_getErrorName(left));
    }
    zstd_->inside_frame = left != 0;
  }
  return output.pos;
}

size_t ByteSource::read_gzip(char* out, size_t size) {
  z_stream& stream = gzip_->stream;
  const auto room = static_cast<uInt>(std::min(size, kBufferBytes));
  stream.next_out = reinterpret_cast<Bytef*>(out);
  stream.avail_out = room;
  while (stream.avail_out == room) {
    if (position_ == raw_.size() && !fill()) {
      if (gzip_->inside_member) throw_user_error("{}: gzip data ends too early", path_.string());
      break;
    }
    stream.next_in = reinterpret_cast<Bytef*>(raw_.data() + position_);
    stream.avail_in = static_cast<uInt>(raw_.size() - position_);
    const bool starts_member = !gzip_->inside_member;
    const int result = inflate(&stream, Z_NO_FLUSH);
    position_ = raw_.size() - stream.avail_in;
    if (result == Z_STREAM_END) {
      ++gzip_->members;
      inflateReset(&stream);
    } else if (result != Z_OK && starts_member && gzip_->members > 0) {
      throw_user_error("{}: bytes that are not gzip follow its gzip data (near byte {} of the file)",
                       path_.string(), bytes_read_ - (raw_.size() - position_));
    } else if (result != Z_OK) {
      throw_user_error("{}: damaged gzip data near byte {}: {}", path_.string(), bytes_read_,
                       stream.msg != nullptr ? stream.msg : zError(result));
    }
    gzip_->inside_member = result != Z_STREAM_END;
  }
  return room - stream.avail_out;
}

}  // namespace rse
