#include "core/check.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <system_error>

#include "core/mapped_ranges.h"
#include "core/printable.h"

namespace rse {

void assertion_failed(const char* expression, const char* file, int line, const std::string& message) {
  throw std::logic_error(fmt::format("{}:{}: assertion '{}' failed: {}", file, line, expression, message));
}

namespace {

// Writes one line on stderr, whatever a value in the message holds. A message that cannot be written is lost,
// because there is nobody left to tell.
int report(const char* name, const char* kind, std::string_view message, int code) {
  std::fputs(fmt::format("{}: {}: {}\n", name, kind, printable(message)).c_str(), stderr);
  return code;
}

// Opens a device in place of each closed standard stream: a file opened there would get that stream's text. Returns
// whether standard output was closed; then what a program writes to it fails, as text that nobody gets should.
bool open_standard_streams() {
  bool output_closed = false;
  for (int stream = 0; stream < 3; ++stream) {
    if (::fcntl(stream, F_GETFD) >= 0 || errno != EBADF) continue;
    ::open(stream == STDOUT_FILENO ? "/dev/full" : "/dev/null", O_RDWR);  // it gets the lowest free number
    output_closed |= stream == STDOUT_FILENO;
  }
  return output_closed;
}

}  // namespace

int run_program(const char* name, const std::function<int()>& body) {
  const bool output_closed = open_standard_streams();
  // The reader of the output may end first (`| head`, `| tee` on Ctrl-C). Then writing fails, instead of
  // killing the program before it has saved its work.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // so that a file beyond the limit is an error of writing (EFBIG)
  end_on_lost_pages(name);
  try {
    const int code = body();
    if (std::fflush(stdout) != 0) {
      throw_user_error("cannot write standard output: {}",
                       output_closed ? "it was closed when the program started" : std::strerror(errno));
    }
    if (std::ferror(stdout) != 0)  // errno is of something else by now
      throw_user_error("cannot write standard output: an earlier part of it could not be written");
    return code;
  } catch (const UserError& error) {
    return report(name, "error", error.what(), kExitUserError);
  } catch (const std::system_error& error) {  // std::filesystem's errors are among them and name the path
    return report(name, "error", error.what(), kExitUserError);
  } catch (const Interrupted& stop) {
    return report(name, "stopped", stop.what(), kExitInterrupted);
  } catch (const std::exception& error) {
    return report(name, "failed", error.what(), kExitFailure);
  }
}

namespace {

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace rse
