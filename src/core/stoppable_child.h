// Runs work that nothing can interrupt, such as a library's call of minutes, so that a signal can end it all
// the same: in a child process.
//
// REQUIRES: the process has one thread, as always before fork(). Invariants: the child ends with its parent,
// however that ends; it ignores SIGINT and SIGTERM, which reach the whole group of a terminal, and leaves
// them to the parent.
#pragma once

#include <functional>
#include <string>

#include "core/stop_signal.h"

namespace rse {

// What work() returns. Its UserErrors and system errors are UserErrors here, its other exceptions
// std::runtime_errors, with the same text. Once `stop` has received a signal, the child is killed and
// Interrupted is thrown. UserError where the child cannot be started or is killed, most likely for want of
// memory; `purpose` ("train a tokenizer") stands in that message.
std::string run_stoppable(const StopSignal& stop, const std::string& purpose,
                          const std::function<std::string()>& work);

}  // namespace rse
