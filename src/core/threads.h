// Starts threads where the system may refuse to (limits on processes or on memory: ulimit -u, -v,
// containers). std::thread then throws in the middle of a half-built object, and OpenMP ends the process.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

namespace rse {

// UserError naming `purpose` ("to encode text") and the system's reason.
std::thread start_thread(const std::string& purpose, std::function<void()> body);

// UserError where `count` more threads cannot run at once, in the words of start_thread. A library that
// starts its threads later, and does not survive where it cannot, is asked about here. It takes some 10 us
// per thread.
void require_threads(int64_t count, const std::string& purpose);

}  // namespace rse
