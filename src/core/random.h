// Counter-based random numbers: a draw is a pure function of its key and counter, so no draw depends on
// batch shape, order, thread or resume, and there is no state to save.
//
// Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace rse {

// Ten rounds of Philox4x32. It gives the published known-answer vectors (see the test).
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Mixes numbers into one 64-bit key by the finaliser of SplitMix64. Their order matters.
uint64_t mix_key(uint64_t a, uint64_t b);
uint64_t mix_key(uint64_t a, uint64_t b, uint64_t c);
uint64_t mix_key(uint64_t a, std::string_view name);

// 128 random bits for draw `index` of stream `key`.
std::array<uint32_t, 4> random_bits(uint64_t key, uint64_t index);

// Uniform in [0, 1) from 32 bits, exact in double.
inline double uniform01(uint32_t bits) { return bits * (1.0 / 4294967296.0); }

// Uniform in {0, ..., n - 1}, n >= 1, from 32 bits (multiply-shift; bias below n / 2^32).
inline uint32_t uniform_below(uint32_t bits, uint32_t n) {
  return static_cast<uint32_t>((uint64_t{bits} * n) >> 32);
}

// A permutation of {0, ..., size - 1} evaluated point by point in O(1): a 4-round Feistel network over the
// next power of four, cycle-walked into the range.
class Permutation {
 public:
  // size >= 1.
  Permutation(uint64_t key, uint64_t size);
  uint64_t operator()(uint64_t index) const;  // index < size
  uint64_t size() const { return size_; }

 private:
  uint64_t key_;
  uint64_t size_;
  int half_bits_;
};

}  // namespace rse
