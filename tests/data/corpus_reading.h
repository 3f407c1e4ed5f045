// What the tests of corpora share: files in a temporary folder, and what a reader makes of them.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "tests/support.h"

namespace rse {

class CorpusReading : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& content) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  static std::vector<std::string> documents(CorpusReader& reader) {
    std::vector<std::string> documents;
    for (std::string text; reader.next(text);) documents.push_back(text);
    return documents;
  }
  static std::vector<std::string> read(const std::vector<std::filesystem::path>& inputs,
                                       CorpusOptions options = {}) {
    CorpusReader reader(inputs, options);
    return documents(reader);
  }
  // Expects an error that begins with the file's path.
  void expect_error(const std::string& name, const std::string& content, const std::string& message,
                    CorpusOptions options = {}) {
    const std::filesystem::path path = write(name, content);
    EXPECT_THAT([&] { read({path}, options); }, ThrowsUserError(path.string() + message)) << content;
  }
  TemporaryFolder folder_;
};

}  // namespace rse
