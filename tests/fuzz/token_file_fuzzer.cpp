// Fuzzes token files: whatever the bytes, every accessor returns tokens of the vocabulary or throws a
// UserError.
//
// The input is a byte of flags, followed by the file. The flags choose which checksums are made right first,
// so that damage gets past them.
#include <algorithm>
#include <cstring>

#include "data/evaluation_windows.h"
#include "data/sequences.h"
#include "data/token_file.h"
#include "data/token_file_format.h"
#include "tests/fuzz/fuzz.h"

namespace rse {
namespace {

using token_file_format::Header;

enum Flag { kRepairHeader = 1, kRepairTokenizer = 2, kRepairTokens = 4, kRepairOffsets = 8, kVerify = 16 };

// Sets `checksum` to the hash of file[begin, begin + bytes) where that range lies inside the file.
void repair(std::string_view file, uint64_t begin, uint64_t bytes, uint64_t& checksum) {
  if (begin <= file.size() && bytes <= file.size() - begin) checksum = xxh64(file.data() + begin, bytes);
}

void repair_checksums(std::string& file, int flags) {
  Header header;
  if (file.size() < sizeof header) return;
  std::memcpy(&header, file.data(), sizeof header);
  const uint64_t size = file.size();
  const auto aligned = [](uint64_t position) {
    return position + token_file_format::padding_after(position);
  };
  if (flags & kRepairHeader) {
    std::memcpy(header.magic, token_file_format::kMagic, sizeof header.magic);
    header.version = token_file_format::kVersion;
  }
  if (header.tokenizer_bytes <= size && header.tokens <= size && header.documents <= size &&
      header.token_width <= 4) {
    const uint64_t tokens = aligned(sizeof header + header.tokenizer_bytes);
    const uint64_t token_bytes = header.tokens * header.token_width;
    if (flags & kRepairTokenizer) repair(file, sizeof header, header.tokenizer_bytes, header.tokenizer_hash);
    if (flags & kRepairTokens) repair(file, tokens, token_bytes, header.tokens_checksum);
    if (flags & kRepairOffsets) {
      repair(file, aligned(tokens + token_bytes), (header.documents + 1) * sizeof(uint64_t),
             header.offsets_checksum);
    }
  }
  if (flags & kRepairHeader) header.header_checksum = token_file_format::checksum_of(header);
  std::memcpy(file.data(), &header, sizeof header);
}

void expect_tokens(const TokenFile& file, uint64_t begin, uint64_t length) {
  std::vector<int64_t> ids(length);
  accepted([&] {
    file.read(begin, length, ids.data());
    for (int64_t id : ids) FUZZ_EXPECT(id >= 0 && id < file.vocab_size());
  });
}

void expect_batch(const TokenFile& file, const TokenBatch& batch) {
  FUZZ_EXPECT(batch.borders.front() == 0 && batch.borders.back() == batch.total());
  FUZZ_EXPECT(std::is_sorted(batch.borders.begin(), batch.borders.end()));
  for (int64_t id : batch.input_ids) FUZZ_EXPECT(id >= 0 && id < file.vocab_size());
}

void read_everything(const TokenFile& file) {
  constexpr uint64_t kMost = 64;
  for (uint64_t document = 0; document <= std::min(file.documents(), kMost); ++document) {
    accepted([&] { FUZZ_EXPECT(file.document_begin(document) <= file.tokens()); });
    if (document == file.documents()) break;
    accepted([&] { expect_tokens(file, file.document_begin(document), file.document_length(document)); });
  }
  for (uint64_t token = 0; token < std::min(file.tokens(), kMost); ++token) {
    accepted([&] { FUZZ_EXPECT(file.document_of(token) < file.documents()); });
    expect_tokens(file, token, 1);
  }
  expect_tokens(file, 0, file.tokens());
  const MaskingConfig masking;
  for (const Packing packing : {Packing::kPacked, Packing::kDocument}) {
    accepted([&] {
      const SequenceSet set(file, 4, packing, 2);
      expect_batch(file, training_batch(file, set, masking, 1, set.size() - 1, 3));
    });
  }
  accepted([&] {
    const EvaluationSet set(file, 4, 3);
    expect_batch(file, set.batch(masking, 1, 0, set.size(), 2));
  });
}

}  // namespace
}  // namespace rse

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rse;
  if (size == 0) return 0;
  std::string content(reinterpret_cast<const char*>(data) + 1, size - 1);
  repair_checksums(content, data[0]);
  static const FuzzFile disk(".bin");
  const std::filesystem::path& path = disk.write(content);
  accepted([&] {
    const TokenFile file(path);
    read_everything(file);
    if (data[0] & kVerify) file.verify();
  });
  return 0;
}
