// A small token file with known content.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "data/token_file.h"
#include "tests/support.h"

namespace rse {

// Writes documents of the given lengths. Token i of the file is an ordinary piece drawn from (7, i).
inline void write_toy_file(const std::filesystem::path& path, const std::vector<int>& lengths,
                           int64_t vocab_size = 1000) {
  TokenFileWriter writer(path, "toy tokenizer", vocab_size);
  uint64_t token = 0;
  for (int length : lengths) {
    std::vector<int> tokens(static_cast<size_t>(length));
    for (int& id : tokens) {
      const auto ordinary = static_cast<uint32_t>(vocab_size - kFirstOrdinaryId);
      id = static_cast<int>(kFirstOrdinaryId + uniform_below(random_bits(7, token++)[0], ordinary));
    }
    writer.add_document(tokens);
  }
  writer.finish();
}

// A test with one toy file, which each call of make() writes anew.
class ToyFileTest : public testing::Test {
 protected:
  const TokenFile& make(const std::vector<int>& lengths) {
    write_toy_file(folder_ / "a.bin", lengths);
    file_ = std::make_unique<TokenFile>(folder_ / "a.bin");
    return *file_;
  }
  TemporaryFolder folder_;
  std::unique_ptr<TokenFile> file_;
};

}  // namespace rse
