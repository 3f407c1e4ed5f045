// SIGINT (Ctrl-C) and SIGTERM as a request to stop in good order. The first one is remembered, for a loop
// that asks now and then and ends with Interrupted (core/check.h). A second one of either kind ends the
// process at once with exit code 128 + its number, as a kill would.
//
// Order of calls: StopSignal before the work that may be stopped -> received() in its loop. Only one
// StopSignal exists at a time.
#pragma once

#include <csignal>

namespace rse {

class StopSignal {
 public:
  StopSignal();   // takes over both signals
  ~StopSignal();  // puts the previous handlers back
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The number of the signal that came first; 0: none yet.
  int received() const;
  // Its name, for messages; "" where none came.
  const char* name() const;

 private:
  struct sigaction previous_interrupt_ {};
  struct sigaction previous_terminate_ {};
};

}  // namespace rse
