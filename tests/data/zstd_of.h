// Compresses text for the tests of corpora.
#pragma once

#include <zstd.h>

#include <string>

namespace rse {

inline std::string zstd_of(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

}  // namespace rse
