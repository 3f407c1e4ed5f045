#include "data/token_file.h"

#include <cmath>
#include <cstring>
#include <fstream>

#include "data/token_file_format.h"
#include "tests/data/toy_file.h"
#include "tests/support.h"

namespace rse {
namespace {

using token_file_format::Header;

std::vector<int64_t> all_tokens(const TokenFile& file) {
  std::vector<int64_t> tokens(file.tokens());
  file.read(0, file.tokens(), tokens.data());
  return tokens;
}

void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

TEST(TokenFile, RoundTripInBothWidths) {
  for (int64_t vocab_size : {int64_t{1} << 16, (int64_t{1} << 16) + 1}) {
    TemporaryFolder folder;
    const int last = static_cast<int>(vocab_size) - 1;
    {
      TokenFileWriter writer(folder / "a.bin", "model", vocab_size);
      writer.add_document({5, 6, last});
      writer.add_document({});
      writer.append({1, 7});
      writer.append({});
      writer.append({2});
      writer.end_document();
      writer.finish();
    }
    const TokenFile file(folder / "a.bin");
    file.verify();
    EXPECT_EQ(file.token_width(), vocab_size == int64_t{1} << 16 ? 2 : 4);
    EXPECT_EQ(file.vocab_size(), vocab_size);
    EXPECT_EQ(file.tokenizer_model(), "model");
    EXPECT_EQ(file.tokenizer_hash(), xxh64("model", 5));
    EXPECT_THAT(all_tokens(file), testing::ElementsAre(5, 6, last, 1, 7, 2));
    EXPECT_EQ(file.token(2), last);
    ASSERT_EQ(file.documents(), 3u);
    EXPECT_EQ(file.document_begin(2), 3u);
    EXPECT_EQ(file.document_begin(3), 6u);
    EXPECT_EQ(file.document_length(1), 0u);
    const uint64_t expected[] = {0, 0, 0, 2, 2, 2};
    for (uint64_t token = 0; token < 6; ++token) EXPECT_EQ(file.document_of(token), expected[token]);
  }
}

TEST(TokenFile, UnigramEntropyIsThatOfOrdinaryPieces) {
  TemporaryFolder folder;
  {
    TokenFileWriter writer(folder / "a.bin", "model", 100);
    writer.add_document({kClsId, 10, 10, 11, 12, kSepId});
    writer.finish();
    TokenFileWriter empty(folder / "empty.bin", "model", 100);
    empty.finish();
  }
  EXPECT_NEAR(TokenFile(folder / "a.bin").unigram_entropy(), 1.5 * std::log(2.0), 1e-12);
  const TokenFile empty(folder / "empty.bin");
  empty.verify();
  EXPECT_EQ(empty.unigram_entropy(), 0.0);
  EXPECT_EQ(empty.documents(), 0u);
}

TEST(TokenFile, NothingAppearsBeforeFinish) {
  TemporaryFolder folder;
  {
    TokenFileWriter writer(folder / "a.bin", "model", 100);
    writer.add_document({10, 11});
    EXPECT_FALSE(std::filesystem::exists(folder / "a.bin"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(TokenFile, MissingEmptyAndForeignFiles) {
  TemporaryFolder folder;
  EXPECT_THAT([&] { TokenFile(folder / "none.bin"); }, ThrowsUserError("none.bin: No such file"));
  EXPECT_THAT([&] { TokenFile(folder.path()); }, ThrowsUserError("not a regular file"));
  write_bytes(folder / "empty.bin", "");
  EXPECT_THAT([&] { TokenFile(folder / "empty.bin"); }, ThrowsUserError("0 bytes: expected a token file"));
  write_bytes(folder / "text.bin", std::string(1000, 'x'));
  EXPECT_THAT([&] { TokenFile(folder / "text.bin"); }, ThrowsUserError("not a token file"));
}

// Whatever byte is damaged, opening the file fails; where the byte belongs to a token, verify() fails.
TEST(TokenFile, EveryFlippedByteIsFound) {
  TemporaryFolder folder;
  write_toy_file(folder / "a.bin", {5, 0, 3});
  const std::string good = read_file(folder / "a.bin");
  const size_t tokens_begin = good.size() - 4 * sizeof(uint64_t) - 8 * sizeof(uint16_t);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    write_bytes(folder / "bad.bin", bad);
    const bool token = i >= tokens_begin && i < tokens_begin + 16;
    if (token) {
      const TokenFile file(folder / "bad.bin");
      EXPECT_THAT([&] { file.verify(); }, ThrowsUserError("damaged tokens")) << "byte " << i;
    } else {
      EXPECT_THAT([&] { TokenFile(folder / "bad.bin"); }, ThrowsUserError("bad.bin: ")) << "byte " << i;
    }
  }
}

TEST(TokenFile, EveryTruncationAndExtraBytesAreFound) {
  TemporaryFolder folder;
  write_toy_file(folder / "a.bin", {5, 0, 3});
  const std::string good = read_file(folder / "a.bin");
  for (size_t size = 0; size < good.size(); ++size) {
    write_bytes(folder / "bad.bin", good.substr(0, size));
    EXPECT_THAT([&] { TokenFile(folder / "bad.bin"); }, ThrowsUserError("bad.bin: ")) << size << " bytes";
  }
  write_bytes(folder / "bad.bin", good + "x");
  EXPECT_THAT([&] { TokenFile(folder / "bad.bin"); }, ThrowsUserError("1 bytes after its end"));
}

// Headers with a right checksum and wrong content, which a careless or hostile writer could make.
TEST(TokenFile, HeadersThatLieAreRefused) {
  TemporaryFolder folder;
  write_toy_file(folder / "a.bin", {5, 0, 3});
  const std::string good = read_file(folder / "a.bin");
  auto expect_refused = [&](auto change, const std::string& message) {
    Header header;
    std::memcpy(&header, good.data(), sizeof header);
    change(header);
    header.header_checksum = checksum_of(header);
    std::string bad = good;
    std::memcpy(bad.data(), &header, sizeof header);
    write_bytes(folder / "bad.bin", bad);
    EXPECT_THAT([&] { TokenFile(folder / "bad.bin"); }, ThrowsUserError(message));
  };
  const uint64_t huge = ~uint64_t{0};
  expect_refused([](Header& h) { h.version = 2; }, "token file version 2");
  expect_refused([](Header& h) { h.token_width = 3; }, "token width 3");
  expect_refused([](Header& h) { h.token_width = 4; }, "truncated");
  expect_refused([](Header& h) { h.vocab_size = 5; }, "vocabulary of 5 pieces");
  expect_refused([](Header& h) { h.vocab_size = 65537; }, "vocabulary of 65537 pieces");
  expect_refused([](Header& h) { h.unigram_entropy = std::nan(""); }, "unigram entropy");
  expect_refused([](Header& h) { h.unigram_entropy = -1; }, "unigram entropy");
  for (uint64_t count : {huge, huge / 2, huge / 2 + 1, huge / 8, huge / 8 + 1, uint64_t{1} << 62}) {
    expect_refused([&](Header& h) { h.tokens = count; }, "truncated");
    expect_refused([&](Header& h) { h.documents = count; }, "truncated");
    expect_refused([&](Header& h) { h.tokenizer_bytes = count; }, "truncated");
  }
  expect_refused([](Header& h) { h.documents = 2; }, "8 bytes after its end");
}

// Offsets that have a right checksum but do not follow one another.
TEST(TokenFile, OffsetsThatLieAreRefused) {
  TemporaryFolder folder;
  write_toy_file(folder / "a.bin", {5, 0, 3});
  const std::string good = read_file(folder / "a.bin");
  for (const std::vector<uint64_t>& offsets : {std::vector<uint64_t>{0, 6, 5, 8},
                                               {0, 5, 5, 7},
                                               {1, 5, 5, 8},
                                               {0, 5, 1000, 8},
                                               {0, 5, 5, ~uint64_t{0}}}) {
    std::string bad = good;
    std::memcpy(bad.data() + bad.size() - 32, offsets.data(), 32);
    Header header;
    std::memcpy(&header, bad.data(), sizeof header);
    header.offsets_checksum = xxh64(offsets.data(), 32);
    header.header_checksum = checksum_of(header);
    std::memcpy(bad.data(), &header, sizeof header);
    write_bytes(folder / "bad.bin", bad);
    EXPECT_THAT([&] { TokenFile(folder / "bad.bin"); }, ThrowsUserError("offset"));
  }
}

TEST(TokenFile, ADamagedOffsetThatKeepsTheOrderIsFound) {
  TemporaryFolder folder;
  write_toy_file(folder / "a.bin", {5, 0, 3});
  std::string bad = read_file(folder / "a.bin");
  const uint64_t offset = 4;  // document 1 would begin a token early
  std::memcpy(bad.data() + bad.size() - 24, &offset, sizeof offset);
  write_bytes(folder / "bad.bin", bad);
  EXPECT_THAT([&] { TokenFile(folder / "bad.bin"); }, ThrowsUserError("damaged document offsets"));
}

TEST(TokenFile, IdsBeyondTheVocabularyAreRefusedWhenRead) {
  TemporaryFolder folder;
  write_toy_file(folder / "a.bin", {5, 0, 3});
  std::string bad = read_file(folder / "a.bin");
  const uint16_t id = 1000;
  std::memcpy(bad.data() + bad.size() - 32 - 16 + 4, &id, sizeof id);  // token 2
  write_bytes(folder / "bad.bin", bad);
  const TokenFile file(folder / "bad.bin");
  EXPECT_NO_THROW(file.token(1));
  EXPECT_THAT([&] { file.token(2); }, ThrowsUserError("id 1000 among tokens 2 to 3"));
}

}  // namespace
}  // namespace rse
