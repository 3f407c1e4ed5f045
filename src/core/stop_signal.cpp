#include "core/stop_signal.h"

#include <unistd.h>

#include <atomic>

#include "core/check.h"

namespace rse {
namespace {

std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may not wait for a lock");

// It calls async-signal-safe functions only: the signal may come in the middle of anything, in any thread.
void on_signal(int signal) {
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, signal)) ::_exit(128 + signal);
}

}  // namespace

StopSignal::StopSignal() {
  first_signal = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // reads and writes go on as if no signal had come
  sigemptyset(&action.sa_mask);
  const auto take_over = [&](int signal, struct sigaction& previous) {
    sigaction(signal, nullptr, &previous);
    if (previous.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
  };
  take_over(SIGINT, previous_interrupt_);
  take_over(SIGTERM, previous_terminate_);
  take_over(SIGHUP, previous_hang_up_);
}

StopSignal::~StopSignal() {
  sigaction(SIGINT, &previous_interrupt_, nullptr);
  sigaction(SIGTERM, &previous_terminate_, nullptr);
  sigaction(SIGHUP, &previous_hang_up_, nullptr);
}

int StopSignal::received() const { return first_signal; }

const char* StopSignal::name() const {
  const int signal = received();
  return signal == 0 ? "" : signal == SIGINT ? "SIGINT" : signal == SIGHUP ? "SIGHUP" : "SIGTERM";
}

void StopSignal::throw_if_received() const {
  if (received() != 0) throw Interrupted(fmt::format("{} received: unfinished files were removed", name()));
}

}  // namespace rse
