// Errors are of two kinds that never mix; a third exception is the end that a user asked for.
//
// UserError means bad input (configuration, file, flag, shape). Its message is one line that names the file,
// the key or line, the value and what was expected. Programs end with exit code 2.
// RSE_ASSERT states what only a bug of ours can break. It throws std::logic_error with file and line, and
// programs end with exit code 1.
// Interrupted is no error: SIGINT or SIGTERM asked the program to stop, and it did so in good order
// (core/stop_signal.h). Programs end with exit code 3.
// Libraries never call exit.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace rse {

class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Args>
[[noreturn]] void throw_user_error(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line,
                                   const std::string& message);

#define RSE_ASSERT(expression, ...)                                                       \
  do {                                                                                    \
    if (!(expression)) {                                                                  \
      ::rse::assertion_failed(#expression, __FILE__, __LINE__, fmt::format(__VA_ARGS__)); \
    }                                                                                     \
  } while (false)

// The exit codes of every program.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;      // a bug, or a run that could not go on
inline constexpr int kExitUserError = 2;    // bad input
inline constexpr int kExitInterrupted = 3;  // stopped in good order by SIGINT or SIGTERM

// Runs the body of a program and returns its exit code. A UserError becomes "NAME: error: ..." on stderr and
// kExitUserError, Interrupted becomes "NAME: stopped: ..." and kExitInterrupted, and any other exception
// becomes kExitFailure.
int run_program(const char* name, const std::function<int()>& body);

// The candidate nearest to `word` by edit distance, or "" where none is near enough to be a misspelling.
std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace rse
