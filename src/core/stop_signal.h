// SIGINT (Ctrl-C), SIGTERM and SIGHUP (a terminal that is closed) as a request to stop in good order. The first one is remembered, for a loop
// that asks now and then and ends with Interrupted (core/check.h). A second one of any kind ends the
// process at once with exit code 128 + its number, as a kill would. A signal that the parent told the process
// to ignore (nohup, a background job of a script) stays ignored.
//
// Order of calls: StopSignal before the work that may be stopped -> received() or throw_if_received() in its
// loop. Only one StopSignal exists at a time.
#pragma once

#include <csignal>

namespace rse {

class StopSignal {
 public:
  StopSignal();   // takes over the signals where they are not ignored
  ~StopSignal();  // puts the previous handlers back
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The number of the signal that came first; 0: none yet.
  int received() const;
  // Its name, for messages; "" where none came.
  const char* name() const;
  // Throws Interrupted for work whose unfinished files are removed on the way out.
  void throw_if_received() const;

 private:
  struct sigaction previous_interrupt_ {};
  struct sigaction previous_terminate_ {};
  struct sigaction previous_hang_up_ {};
};

}  // namespace rse
