#include "data/interrupt_guard.h"

#include <fmt/format.h>

#include <stdexcept>

namespace rse {
namespace {

volatile std::sig_atomic_t received_signal = 0;

void remember_signal(int signal) { received_signal = signal; }

}  // namespace

InterruptGuard::InterruptGuard() {
  received_signal = 0;
  struct sigaction action {};
  action.sa_handler = remember_signal;
  action.sa_flags = SA_RESETHAND | SA_RESTART;  // a second signal ends the program at once
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &previous_interrupt_);
  sigaction(SIGTERM, &action, &previous_terminate_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &previous_interrupt_, nullptr);
  sigaction(SIGTERM, &previous_terminate_, nullptr);
}

void InterruptGuard::check() const {
  const int signal = received_signal;
  if (signal == 0) return;
  throw std::runtime_error(fmt::format("{} received: unfinished files were removed",
                                       signal == SIGINT ? "interrupt" : "termination signal"));
}

}  // namespace rse
