#include "core/threads.h"

#include <condition_variable>
#include <mutex>
#include <system_error>
#include <vector>

#include "core/check.h"

namespace rse {

std::thread start_thread(const std::string& purpose, std::function<void()> body) {
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& error) {
    throw_user_error(
        "cannot start a thread {}: {}: expected fewer threads, or higher limits on processes and memory "
        "(ulimit -u, "
        "-v)",
        purpose, error.code().message());
  }
}

void require_threads(int64_t count, const std::string& purpose) {
  std::mutex mutex;
  std::condition_variable changed;
  bool released = false;
  std::vector<std::thread> threads;
  const auto release = [&] {
    {
      const std::lock_guard lock(mutex);
      released = true;
    }
    changed.notify_all();
    for (std::thread& thread : threads) thread.join();
  };
  try {
    threads.reserve(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      threads.push_back(start_thread(fmt::format("{} ({} of {})", purpose, i + 1, count), [&] {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return released; });
      }));
    }
  } catch (...) {
    release();
    throw;
  }
  release();
}

}  // namespace rse
