// A small token file with known content.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/random.h"
#include "data/token_file.h"

namespace rse {

// Documents of the given lengths; token i of the file is an ordinary piece drawn from (7, i).
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

}  // namespace rse
