#include "data/line_reader.h"

#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "core/check.h"

namespace rse {

namespace {
constexpr size_t kBufferBytes = size_t{1} << 16;
}

struct LineReader::Decompressor {
  Decompressor() : stream(ZSTD_createDStream()) { RSE_ASSERT(stream != nullptr, "out of memory"); }
  ~Decompressor() { ZSTD_freeDStream(stream); }

  ZSTD_DStream* stream;
  std::string compressed;
  ZSTD_inBuffer input = {nullptr, 0, 0};
  bool inside_frame = false;
};

LineReader::LineReader(const std::filesystem::path& path, bool compressed)
    : path_(path), file_(std::fopen(path.c_str(), "rb")) {
  if (file_ == nullptr) throw_user_error("cannot open {}: {}", path.string(), std::strerror(errno));
  if (compressed) decompressor_ = std::make_unique<Decompressor>();
}

LineReader::~LineReader() { std::fclose(file_); }

size_t LineReader::read_file(void* out, size_t size) {
  const size_t got = std::fread(out, 1, size, file_);
  if (got < size && std::ferror(file_) != 0) {
    throw_user_error("cannot read {}: {}", path_.string(), std::strerror(errno));
  }
  bytes_read_ += got;
  return got;
}

// Replaces the spent buffer. Returns false at the end of the file.
bool LineReader::refill() {
  position_ = 0;
  buffer_.resize(kBufferBytes);
  if (decompressor_ == nullptr) {
    buffer_.resize(read_file(buffer_.data(), buffer_.size()));
    return !buffer_.empty();
  }
  Decompressor& d = *decompressor_;
  ZSTD_outBuffer output = {buffer_.data(), buffer_.size(), 0};
  while (output.pos == 0) {
    if (d.input.pos == d.input.size) {
      d.compressed.resize(kBufferBytes);
      d.input = {d.compressed.data(), read_file(d.compressed.data(), d.compressed.size()), 0};
      if (d.input.size == 0) {
        if (d.inside_frame) throw_user_error("{}: zstd data ends too early", path_.string());
        break;
      }
    }
    const size_t left = ZSTD_decompressStream(d.stream, &output, &d.input);
    if (ZSTD_isError(left) != 0) {
      throw_user_error("{}: damaged zstd data near byte {}: {}", path_.string(), bytes_read_,
                       ZSTD_getErrorName(left));
    }
    d.inside_frame = left != 0;
  }
  buffer_.resize(output.pos);
  return output.pos > 0;
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
