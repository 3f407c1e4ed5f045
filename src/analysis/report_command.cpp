#include "analysis/report_command.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "core/check.h"

extern char** environ;

namespace rse {
namespace {

std::string python() {
  const char* chosen = std::getenv("RSE_REPORT_PYTHON");
  return chosen != nullptr && *chosen != '\0' ? chosen : RSE_REPORT_PYTHON;
}

// An installed program's script lies beside it; in a build tree, the source tree's.
std::string script() {
  std::error_code ignored;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const std::filesystem::path installed = program.parent_path().parent_path() / "share/rse/scripts/report.py";
  return std::filesystem::exists(installed, ignored) ? installed.string() : RSE_REPORT_SCRIPT;
}

std::vector<std::string> arguments(const std::filesystem::path& evaluation_folder,
                                   const std::vector<std::filesystem::path>& run_folders) {
  std::vector<std::string> words = {python(), script(), evaluation_folder.string()};
  for (const std::filesystem::path& run : run_folders) {
    words.emplace_back("--run");
    words.push_back(run.string());
  }
  return words;
}

// In single quotes where a shell would otherwise read more into it.
std::string shell_word(const std::string& word) {
  const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string quoted = "'";
  for (char c : word) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  quoted += '\'';
  return quoted;
}

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of("\n\r ");
  if (end == std::string::npos) return "";
  const size_t before = text.find_last_of('\n', end);
  const size_t begin = before == std::string::npos ? 0 : before + 1;
  return text.substr(begin, end + 1 - begin);
}

// Reads to the end of the stream and closes it.
std::string drain(int descriptor) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t count = read(descriptor, buffer, sizeof buffer);
    if (count > 0) {
      text.append(buffer, static_cast<size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      break;
    }
  }
  close(descriptor);
  return text;
}

// The environment without the entries of PYTHONPATH that mean the current folder, whose modules would be run: empty
// ones (a colon at its end) and relative ones.
std::vector<std::string> environment() {
  constexpr std::string_view kName = "PYTHONPATH=";
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    std::string_view text = *variable;
    if (!text.starts_with(kName)) {
      variables.emplace_back(text);
      continue;
    }
    text.remove_prefix(kName.size());
    std::string kept;
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(':', begin), text.size());
      const std::string_view entry = text.substr(begin, end - begin);
      if (entry.starts_with('/')) kept += fmt::format("{}{}", kept.empty() ? "" : ":", entry);
      begin = end + 1;
    }
    if (!kept.empty()) variables.push_back(fmt::format("{}{}", kName, kept));
  }
  return variables;
}

// The pointers that system calls take, with a null one at the end.
std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

struct Outcome {
  bool succeeded = false;
  std::string reason;  // where it did not
};

Outcome run(const std::vector<std::string>& words) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {false, std::strerror(errno)};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  const std::vector<std::string> variables = environment();
  pid_t child = 0;
  const int failure = posix_spawnp(&child, words[0].c_str(), &actions, nullptr, pointers_to(words).data(),
                                   pointers_to(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  const std::string output = drain(ends[0]);
  if (failure != 0) return {false, fmt::format("{}: {}", words[0], std::strerror(failure))};
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {true, ""};
  const std::string line = last_line(output);
  if (!line.empty()) return {false, line};
  if (WIFSIGNALED(status)) return {false, fmt::format("{} ended by signal {}", words[0], WTERMSIG(status))};
  return {false, fmt::format("{} ended with exit code {}", words[0], WEXITSTATUS(status))};
}

}  // namespace

std::string report_command(const std::filesystem::path& evaluation_folder,
                           const std::vector<std::filesystem::path>& run_folders) {
  std::vector<std::string> words;
  for (const std::string& word : arguments(evaluation_folder, run_folders)) words.push_back(shell_word(word));
  return fmt::format("{}", fmt::join(words, " "));
}

std::filesystem::path draw_report(const std::filesystem::path& evaluation_folder,
                                  const std::vector<std::filesystem::path>& run_folders) {
  const Outcome outcome = run(arguments(evaluation_folder, run_folders));
  if (!outcome.succeeded) {
    throw std::runtime_error(
        fmt::format("the report could not be drawn: {}; the results are complete; draw it with: {}",
                    outcome.reason, report_command(evaluation_folder, run_folders)));
  }
  return evaluation_folder / "report.html";
}

}  // namespace rse
