#include "core/mapped_ranges.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>

#include "core/check.h"
#include "core/printable.h"

namespace rse {
namespace {

// One map. Entries form a list that only grows, so that the handler may walk along it at any moment; those whose
// map is gone (begin = 0) are used again. `text` is not changed while begin is not 0.
struct Range {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::string text;  // the line without the program's name
  Range* next = nullptr;
};

std::atomic<Range*> first_range{nullptr};
static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<Range*>::is_always_lock_free,
              "a signal handler may not wait for a lock");
std::mutex list_mutex;  // of those that change the list

char line_begin[64] = "";  // "rse-train: error: "
struct sigaction previous_action {};

void write_all(const char* text, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(STDERR_FILENO, text, size);
    if (written <= 0) return;  // nobody is left to tell
    text += written;
    size -= static_cast<size_t>(written);
  }
}

void on_bus_error(int, siginfo_t* info, void*) {
  const bool sent = info->si_code <= 0;  // by a process: there is no address then
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const Range* range = first_range.load(); range != nullptr && !sent; range = range->next) {
    const uintptr_t begin = range->begin;
    if (begin == 0 || address < begin || address >= range->end) continue;
    write_all(line_begin, std::strlen(line_begin));
    write_all(range->text.data(), range->text.size());
    ::_exit(kExitUserError);
  }
  ::sigaction(SIGBUS, &previous_action, nullptr);
  if (sent) ::raise(SIGBUS);  // an access is repeated by itself
}

}  // namespace

void end_on_lost_pages(const char* name) {
  const std::string text = std::string(name) + ": error: ";
  std::memcpy(line_begin, text.c_str(), std::min(text.size() + 1, sizeof line_begin - 1));
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, &previous_action);
}

void note_mapped_range(const void* data, size_t size, const std::filesystem::path& path) {
  const std::lock_guard lock(list_mutex);
  Range* range = first_range;
  while (range != nullptr && range->begin != 0) range = range->next;
  const bool is_new = range == nullptr;
  if (is_new) range = new Range;
  range->text =
      printable(path.string()) +
      ": a part of it cannot be read any more: it was cut short, or its disk failed, while it was in "
      "use: expected a file that stays as it is\n";
  range->end = reinterpret_cast<uintptr_t>(data) + size;
  range->begin = reinterpret_cast<uintptr_t>(data);
  if (!is_new) return;
  range->next = first_range;
  first_range = range;
}

void forget_mapped_range(const void* data) {
  const std::lock_guard lock(list_mutex);
  for (Range* range = first_range; range != nullptr; range = range->next) {
    if (range->begin == reinterpret_cast<uintptr_t>(data)) range->begin = 0;
  }
}

}  // namespace rse
