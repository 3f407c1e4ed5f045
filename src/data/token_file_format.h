// The bytes of a token file's header, for its reader and its writer. data/README.md describes them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/hash.h"

namespace rse::token_file_format {

static_assert(std::endian::native == std::endian::little, "token files are little-endian and read in place");

inline constexpr char kMagic[8] = {'R', 'S', 'E', 'T', 'O', 'K', '1', '\0'};
inline constexpr uint32_t kVersion = 1;
inline constexpr uint64_t kAlignment = 8;  // of tokens and offsets in the file

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t token_width;  // bytes: 2 or 4
  uint64_t vocab_size;
  uint64_t documents;
  uint64_t tokens;
  uint64_t tokenizer_bytes;
  uint64_t tokenizer_hash;    // XXH64 of the serialized tokenizer
  uint64_t tokens_checksum;   // XXH64 of the tokens
  uint64_t offsets_checksum;  // XXH64 of the documents + 1 offsets
  double unigram_entropy;     // nats
  uint64_t reserved[5];       // 0
  uint64_t header_checksum;   // XXH64 of the bytes before it
};
static_assert(sizeof(Header) == 128 && std::is_trivially_copyable_v<Header>);

inline uint64_t checksum_of(const Header& header) {
  return xxh64(&header, offsetof(Header, header_checksum));
}

inline uint64_t padding_after(uint64_t position) { return (kAlignment - position % kAlignment) % kAlignment; }

}  // namespace rse::token_file_format
