// Logging through spdlog, progress bars, and numbers as people read them.
//
// Invariant: a message is one line, whatever names and values it holds (core/printable.h). Order of calls: a program
// calls init_logging() once; then spdlog::info(...) and its like may be called anywhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace rse {

// level: trace, debug, info, warn or error; any other is a UserError. Messages go to stderr.
void init_logging(const std::string& level);

// From now on messages are also appended to `path`.
void add_log_file(const std::filesystem::path& path);

// Logs each line of `text` as a message of level info.
void log_lines(std::string_view text);

// "1h02m03s", "4m05s", "12s"; "?" for negative or non-finite.
std::string format_duration(double seconds);

// "12.3k", "4.5M", "1.2G" (powers of 1000).
std::string format_count(double value);

// "1.2 GiB" (powers of 1024).
std::string format_bytes(double bytes);

// Shows progress: a bar with the time left where stderr is a terminal, elsewhere a plain line every ten
// seconds and one at the end.
class ProgressBar {
 public:
  // total: units of work; 0 where it is unknown, and counts are shown without a bar.
  ProgressBar(std::string title, uint64_t total, std::string unit);
  ~ProgressBar();  // finishes the line
  void update(uint64_t done);
  void finish();

 private:
  void draw(bool last);
  std::string title_, unit_;
  uint64_t total_, done_ = 0;
  double start_, last_drawn_;
  bool terminal_, finished_ = false;
};

// Seconds of a monotonic clock.
double now_seconds();

}  // namespace rse
