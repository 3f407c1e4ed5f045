#include "core/stoppable_child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <system_error>

#include "core/check.h"

namespace rse {
namespace {

// The first byte of what the child writes; the result or the message follows.
constexpr char kResult = 'R', kUserError = 'U', kFailure = 'F';

int answer_descriptor = -1;  // of the child; a terminate handler has no arguments

// Writes everything and ends the child.
[[noreturn]] void answer(char kind, const std::string& text) {
  const std::string all = kind + text;
  for (size_t done = 0; done < all.size();) {
    const ssize_t written = ::write(answer_descriptor, all.data() + done, all.size() - done);
    if (written < 0 && errno != EINTR) ::_exit(kExitFailure);
    done += written > 0 ? static_cast<size_t>(written) : 0;
  }
  ::_exit(kExitOk);  // without the parent's exit handlers and buffers
}

// Ends the child with the exception that is being handled.
[[noreturn]] void answer_exception() {
  try {
    throw;
  } catch (const UserError& error) {
    answer(kUserError, error.what());
  } catch (const std::system_error& error) {
    answer(kUserError, error.what());
  } catch (const std::exception& error) {
    answer(kFailure, error.what());
  } catch (...) {
    answer(kFailure, "an unknown exception");
  }
}

[[noreturn]] void run_child(pid_t parent, const std::function<std::string()>& work) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExitFailure);  // it ended before prctl
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGTERM, SIG_IGN);
  std::set_terminate([] {
    if (std::current_exception() == nullptr) answer(kFailure, "terminate called");
    answer_exception();
  });
  std::string result;
  try {
    result = work();
  } catch (...) {
    answer_exception();
  }
  answer(kResult, result);
}

// The running child. Its destructor kills it where it still runs.
class Child {
 public:
  Child(const std::string& purpose, const std::function<std::string()>& work) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail(purpose);
    const pid_t parent = ::getpid();
    process_ = ::fork();
    if (process_ == 0) {
      answer_descriptor = ends[1];
      run_child(parent, work);
    }
    const int code = errno;
    ::close(ends[1]);
    answer_ = ends[0];
    errno = code;
    if (process_ < 0) {
      ::close(answer_);
      fail(purpose);
    }
  }
  ~Child() {
    ::close(answer_);
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    wait();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Waits a moment for more of the answer and appends it. Returns false at its end.
  bool read_some(std::string& text) {
    constexpr int kMilliseconds = 100;  // a signal that comes between its check and poll() waits so long
    pollfd ready{answer_, POLLIN, 0};
    if (::poll(&ready, 1, kMilliseconds) <= 0) return true;
    char buffer[1 << 16];
    const ssize_t bytes = ::read(answer_, buffer, sizeof buffer);
    if (bytes > 0) text.append(buffer, static_cast<size_t>(bytes));
    return bytes > 0 || (bytes < 0 && errno == EINTR);
  }

  // Returns waitpid's status.
  int wait() {
    int status = 0;
    while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
    }
    process_ = 0;
    return status;
  }

 private:
  [[noreturn]] static void fail(const std::string& purpose) {
    throw_user_error("cannot start a process to {}: {}", purpose, std::strerror(errno));
  }
  pid_t process_ = 0;
  int answer_ = -1;
};

}  // namespace

std::string run_stoppable(const StopSignal& stop, const std::string& purpose,
                          const std::function<std::string()>& work) {
  Child child(purpose, work);
  std::string text;
  do {
    stop.throw_if_received();
  } while (child.read_some(text));
  const int status = child.wait();
  if (WIFSIGNALED(status)) {
    throw_user_error("the process to {} was ended by signal {} ({}): expected enough memory for it", purpose,
                     WTERMSIG(status), strsignal(WTERMSIG(status)));
  }
  RSE_ASSERT(!text.empty() && WIFEXITED(status) && WEXITSTATUS(status) == kExitOk,
             "the process to {} ended with status {}", purpose, status);
  std::string content = text.substr(1);
  if (text.front() == kUserError) throw UserError(content);
  if (text.front() == kFailure) throw std::runtime_error(content);
  return content;
}

}  // namespace rse
