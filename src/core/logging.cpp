#include "core/logging.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <mutex>

#include "core/check.h"
#include "core/printable.h"

namespace rse {
namespace {

// A log file that notices a full disk. spdlog's own file sink loses a buffer's worth of messages before it
// does; here a message is in the file when the call returns, or the call throws.
class LogFile : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LogFile(const std::filesystem::path& path)
      : path_(path.string()), file_(std::fopen(path.c_str(), "ab")) {
    if (file_ == nullptr) fail();
    std::setvbuf(file_, nullptr, _IONBF, 0);
  }
  ~LogFile() override { std::fclose(file_); }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (std::fwrite(line.data(), 1, line.size(), file_) != line.size()) fail();
  }
  void flush_() override {}

 private:
  [[noreturn]] void fail() const {
    throw_user_error("cannot write log file {}: {}", path_, std::strerror(errno));
  }
  std::string path_;
  std::FILE* file_;
};

// The message of a log line ("%v" of spdlog's patterns) with its control characters made visible.
class PrintableMessage : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& line) override {
    const std::string text = printable({message.payload.data(), message.payload.size()});
    line.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<PrintableMessage>();
  }
};

// pattern: spdlog's, with %* for the message.
std::unique_ptr<spdlog::formatter> make_formatter(const std::string& pattern) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<PrintableMessage>('*').set_pattern(pattern);
  return formatter;
}

}  // namespace

void init_logging(const std::string& level) {
  static const std::vector<std::string> kLevels = {"trace", "debug", "info", "warn", "error"};
  if (std::find(kLevels.begin(), kLevels.end(), level) == kLevels.end()) {
    throw_user_error("log level '{}': expected one of {}", level, fmt::join(kLevels, ", "));
  }
  auto logger =
      std::make_shared<spdlog::logger>("rse", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_level(spdlog::level::from_str(level));
  logger->set_formatter(make_formatter("%H:%M:%S %^%l%$ %*"));
  logger->flush_on(spdlog::level::info);
  logger->set_error_handler([](const std::string& message) { throw UserError(message); });
  spdlog::set_default_logger(logger);
}

void add_log_file(const std::filesystem::path& path) {
  auto sink = std::make_shared<LogFile>(path);
  sink->set_formatter(make_formatter("%Y-%m-%d %H:%M:%S %l %*"));
  spdlog::default_logger()->sinks().push_back(sink);
}

void log_lines(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    spdlog::info("{}", text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole >= 3600) return fmt::format("{}h{:02}m{:02}s", whole / 3600, whole / 60 % 60, whole % 60);
  if (whole >= 60) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}s", whole);
}

std::string format_count(double value) {
  const char* suffixes[] = {"", "k", "M", "G", "T", "P"};
  int i = 0;
  for (; std::abs(value) >= 1000 && i < 5; ++i) value /= 1000;
  return i == 0 ? fmt::format("{:g}", value) : fmt::format("{:.1f}{}", value, suffixes[i]);
}

std::string format_bytes(double bytes) {
  const char* suffixes[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int i = 0;
  for (; std::abs(bytes) >= 1024 && i < 4; ++i) bytes /= 1024;
  return i == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, suffixes[i]);
}

ProgressBar::ProgressBar(std::string title, uint64_t total, std::string unit)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      start_(now_seconds()),
      last_drawn_(start_),
      terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() { finish(); }

void ProgressBar::update(uint64_t done) {
  done_ = done;
  const double now = now_seconds();
  if (now - last_drawn_ < (terminal_ ? 0.1 : 10.0)) return;
  last_drawn_ = now;
  draw(false);
}

void ProgressBar::finish() {
  if (finished_) return;
  finished_ = true;
  draw(true);
}

void ProgressBar::draw(bool last) {
  if (!spdlog::default_logger()->should_log(spdlog::level::info)) return;
  const double elapsed = now_seconds() - start_;
  const std::string title = printable(title_);
  const double rate = elapsed > 0 ? done_ / elapsed : 0;
  std::string line = fmt::format("{}: {} {}, {} {}/s, {}", title, format_count(done_), unit_,
                                 format_count(std::round(rate)), unit_, format_duration(elapsed));
  if (total_ > 0 && !last) {
    const double share = std::min(1.0, static_cast<double>(done_) / total_);
    constexpr int kWidth = 30;
    const int filled = static_cast<int>(share * kWidth);
    line = fmt::format("{}: [{}{}] {:3.0f}% of {} {}, {} {}/s, ETA {}", title, std::string(filled, '#'),
                       std::string(kWidth - filled, '.'), 100 * share, format_count(total_), unit_,
                       format_count(std::round(rate)), unit_,
                       format_duration(rate > 0 ? (total_ - std::min(total_, done_)) / rate : -1));
  }
  line = terminal_ ? "\r\033[K" + line + (last ? "\n" : "") : line + "\n";
  std::fputs(line.c_str(), stderr);  // unlike fmt::print it never throws, and destructors draw too
}

}  // namespace rse
