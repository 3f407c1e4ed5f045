// What the fuzz targets share. A target may refuse its input with a UserError and nothing else: any other
// exception, a sanitizer's report, or a false expectation ends the process, which is a finding.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/check.h"

namespace rse {

#define FUZZ_EXPECT(expression)                                                      \
  do {                                                                               \
    if (!(expression)) {                                                             \
      std::fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #expression); \
      std::abort();                                                                  \
    }                                                                                \
  } while (false)

// Holds the input as a file, for readers that take a path. The file lies in TMPDIR, its name contains the
// process's number, and it is removed when the process ends.
class FuzzFile {
 public:
  explicit FuzzFile(const std::string& ending)
      : path_(std::filesystem::temp_directory_path() / fmt::format("rse_fuzz_{}{}", ::getpid(), ending)) {}
  ~FuzzFile() { ::unlink(path_.c_str()); }

  const std::filesystem::path& write(std::string_view content) const {
    std::FILE* file = std::fopen(path_.c_str(), "wb");
    FUZZ_EXPECT(file != nullptr && std::fwrite(content.data(), 1, content.size(), file) == content.size());
    FUZZ_EXPECT(std::fclose(file) == 0);
    return path_;
  }

 private:
  std::filesystem::path path_;
};

// Calls `read`, and returns true where it accepted its input.
template <typename Read>
bool accepted(const Read& read) {
  try {
    read();
    return true;
  } catch (const UserError& error) {
    FUZZ_EXPECT(*error.what() != '\0');
    return false;
  }
}

}  // namespace rse
