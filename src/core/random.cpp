#include "core/random.h"

#include "core/check.h"
#include "core/hash.h"

namespace rse {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

namespace {

uint64_t splitmix(uint64_t z) {
  z += 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

}  // namespace

uint64_t mix_key(uint64_t a, uint64_t b) { return splitmix(splitmix(a) ^ b); }

uint64_t mix_key(uint64_t a, uint64_t b, uint64_t c) { return mix_key(mix_key(a, b), c); }

uint64_t mix_key(uint64_t a, std::string_view name) { return mix_key(a, xxh64(name.data(), name.size())); }

std::array<uint32_t, 4> random_bits(uint64_t key, uint64_t index) {
  return philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), 0, 0},
                    {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)});
}

Permutation::Permutation(uint64_t key, uint64_t size) : key_(key), size_(size), half_bits_(1) {
  RSE_ASSERT(size >= 1 && size <= (uint64_t{1} << 62), "a permutation of {} elements", size);
  while ((uint64_t{1} << (2 * half_bits_)) < size) ++half_bits_;
}

uint64_t Permutation::operator()(uint64_t index) const {
  RSE_ASSERT(index < size_, "index {} of a permutation of {}", index, size_);
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  do {
    uint64_t left = index >> half_bits_, right = index & mask;
    for (uint32_t round = 0; round < 4; ++round) {
      const auto bits =
          philox4x32({static_cast<uint32_t>(right), static_cast<uint32_t>(right >> 32), round, 1},
                     {static_cast<uint32_t>(key_), static_cast<uint32_t>(key_ >> 32)});
      const uint64_t mixed = (uint64_t{bits[1]} << 32 | bits[0]) & mask;
      left ^= mixed;
      std::swap(left, right);
    }
    index = left << half_bits_ | right;
  } while (index >= size_);
  return index;
}

}  // namespace rse
