// Runs programs as their users do: exit codes, what they write, and what they leave behind. It does without
// LibTorch.
#pragma once

#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/support.h"

namespace rse {

struct Outcome {
  int exit_code = 0;  // 128 + the number of the signal that ended it
  std::string out, err;
};

// Lists every path below `folder`, with size and time for files.
inline std::map<std::string, std::string> listing(const std::filesystem::path& folder) {
  std::map<std::string, std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    std::string& what = found[entry.path().string()];
    if (entry.is_symlink() || !entry.is_regular_file()) continue;
    what = fmt::format("{} bytes, {}", entry.file_size(), entry.last_write_time().time_since_epoch().count());
  }
  return found;
}

// Commands run in folder_, so that their arguments may name files relative to it.
class ProgramTest : public testing::Test {
 protected:
  // Runs one command line of the shell.
  Outcome shell(const std::string& command) const {
    const std::string out = (captured_ / "out").string(), err = (captured_ / "err").string();
    const int status = std::system(
        fmt::format("cd '{}' && ( {} ) >'{}' 2>'{}'", folder_.path().string(), command, out, err).c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(out), read_file(err)};
  }

  // Expects exit code 2, one line on stderr that begins with "NAME: error: " and holds `parts`, and no file
  // made or changed. `prefix` goes before the program ("VARIABLE=value ").
  void expect_user_error(const std::string& program, const std::string& arguments,
                         const std::vector<std::string>& parts, const std::string& prefix = "") const {
    const auto before = listing(folder_.path());
    const Outcome outcome = shell(fmt::format("{} '{}' {}", prefix, program, arguments));
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    const std::string name = std::filesystem::path(program).filename().string();
    EXPECT_THAT(outcome.err, testing::StartsWith(name + ": error: ")) << arguments;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    for (const std::string& part : parts) EXPECT_THAT(outcome.err, testing::HasSubstr(part)) << arguments;
    EXPECT_EQ(listing(folder_.path()), before) << arguments;
  }

  // Writes a file below folder_ and returns its path.
  std::string write(const std::string& name, const std::string& content) const {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }

  TemporaryFolder folder_;

 private:
  TemporaryFolder captured_;
};

}  // namespace rse
