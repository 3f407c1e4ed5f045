// Ctrl-C and SIGTERM while a file is being written: instead of ending the program at once, they make check()
// throw, so that the unfinished file is removed on the way out. One guard at a time.
#pragma once

#include <csignal>

namespace rse {

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();  // the previous handlers again
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  // Throws std::runtime_error naming the signal, once one has come.
  void check() const;

 private:
  struct sigaction previous_interrupt_ {};
  struct sigaction previous_terminate_ {};
};

}  // namespace rse
