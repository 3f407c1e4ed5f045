// 64-bit hashes and checksums of content: XXH64 (Yann Collet's published algorithm and test vectors). They
// guard against damage and mix-ups, not against an adversary. The algorithm is written here because libxxhash
// is not on every machine that this project supports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace rse {

// XXH64 of a byte range.
uint64_t xxh64(const void* data, size_t size, uint64_t seed = 0);

// The same hash over a stream of pieces.
class Xxh64 {
 public:
  explicit Xxh64(uint64_t seed = 0);
  void update(const void* data, size_t size);
  uint64_t digest() const;

 private:
  uint64_t lanes_[4];
  uint64_t seed_;
  uint64_t total_ = 0;
  unsigned char buffer_[32];
  size_t buffered_ = 0;
};

// 16 lower-case hexadecimal digits.
std::string hex64(uint64_t value);

}  // namespace rse
