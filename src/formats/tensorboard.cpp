#include "formats/tensorboard.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/check.h"

namespace rse {
namespace {

std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    table[byte] = crc;
  }
  return table;
}

// Protocol buffer wire format: a key is (field number << 3 | wire type).
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void put_key(std::string& out, int field, WireType type) {
  put_varint(out, static_cast<uint64_t>(field) << 3 | type);
}

template <typename T>
void put_fixed(std::string& out, int field, T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "the two fixed widths of the wire format");
  put_key(out, field, sizeof(T) == 8 ? kFixed64 : kFixed32);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_bytes(std::string& out, int field, const std::string& value) {
  put_key(out, field, kBytes);
  put_varint(out, value.size());
  out += value;
}

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

constexpr std::string_view kNameBegin = "events.out.tfevents.";
constexpr size_t kSecondsDigits =
    10;  // enough until the year 2286, and names of equal length sort as numbers

// The microseconds that a name of the form kNameBegin SECONDS.FRACTION... says; none for other names. A name
// without a fraction counts as the end of its second, because it sorts among those with one.
std::optional<int64_t> time_in_name(const std::string& name) {
  if (!name.starts_with(kNameBegin)) return std::nullopt;
  const std::string_view digits = std::string_view(name).substr(kNameBegin.size());
  const auto number = [&](size_t begin, size_t count) -> std::optional<int64_t> {
    const std::string_view part = digits.substr(std::min(begin, digits.size()), count);
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    const bool whole = error == std::errc() && part.size() == count && stop == part.data() + count;
    return whole ? std::optional(value) : std::nullopt;
  };
  const auto seconds = number(0, kSecondsDigits), fraction = number(kSecondsDigits + 1, 6);
  if (!seconds || *seconds < 0) return std::nullopt;
  return *seconds * 1'000'000 + (fraction && *fraction >= 0 ? *fraction : 999'999);
}

// The time that the name of a new event file in `folder` says, in microseconds: now, or just after the newest file
// there where the clock was set back.
int64_t time_for_name(const std::filesystem::path& folder) {
  int64_t time = std::llround(wall_time() * 1e6);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto other = time_in_name(entry.path().filename().string());
    if (other) time = std::max(time, *other + 1);
  }
  return time;
}

// The fields of Event: wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7.
std::string event_header() {
  std::string event;
  put_fixed(event, 1, wall_time());
  return event;
}

std::string event_header(int64_t step) {
  std::string event = event_header();
  put_key(event, 2, kVarint);
  put_varint(event, static_cast<uint64_t>(step));
  return event;
}

// The field of SessionLog: status = 1, where the value 1 is START.
std::string session_start(int64_t step) {
  std::string log;
  put_key(log, 1, kVarint);
  put_varint(log, 1);
  std::string event = event_header(step);
  put_bytes(event, 7, log);
  return event;
}

}  // namespace

uint32_t crc32c(const void* data, size_t size) {
  static const std::array<uint32_t, 256> kTable = make_crc_table();
  uint32_t crc = ~0u;
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < size; ++i) crc = kTable[(crc ^ bytes[i]) & 0xff] ^ (crc >> 8);
  return ~crc;
}

uint32_t masked_crc32c(const void* data, size_t size) {
  const uint32_t crc = crc32c(data, size);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

EventFile::EventFile(const std::filesystem::path& folder, int64_t first_step) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw_user_error("cannot create {}: {}", folder.string(), error.message());
  const bool goes_on = !std::filesystem::is_empty(folder);
  const int64_t time = time_for_name(folder);
  path_ = folder / fmt::format("{}{:0{}}.{:06}.rse.{}", kNameBegin, time / 1'000'000, kSecondsDigits,
                               time % 1'000'000, ::getpid());
  file_ = std::fopen(path_.c_str(), "ab");
  if (file_ == nullptr) throw_user_error("cannot write {}: {}", path_.string(), std::strerror(errno));
  std::string event = event_header();
  put_bytes(event, 3, "brain.Event:2");
  write_record(event);
  if (goes_on) write_record(session_start(first_step));
}

EventFile::~EventFile() { std::fclose(file_); }

void EventFile::scalar(const std::string& tag, int64_t step, double value) {
  std::string entry;  // Summary.Value: tag = 1, simple_value = 2
  put_bytes(entry, 1, tag);
  put_fixed(entry, 2, static_cast<float>(value));
  std::string summary;  // Summary: value = 1
  put_bytes(summary, 1, entry);
  std::string event = event_header(step);
  put_bytes(event, 5, summary);
  write_record(event);
}

void EventFile::write_record(const std::string& event) {
  std::string record;
  const uint64_t length = event.size();
  record.append(reinterpret_cast<const char*>(&length), sizeof length);
  const uint32_t length_crc = masked_crc32c(&length, sizeof length);
  record.append(reinterpret_cast<const char*>(&length_crc), sizeof length_crc);
  record += event;
  const uint32_t data_crc = masked_crc32c(event.data(), event.size());
  record.append(reinterpret_cast<const char*>(&data_crc), sizeof data_crc);
  if (std::fwrite(record.data(), 1, record.size(), file_) != record.size()) {
    throw_user_error("cannot write {}: {}", path_.string(), std::strerror(errno));
  }
}

void EventFile::flush() {
  if (std::fflush(file_) != 0) throw_user_error("cannot write {}: {}", path_.string(), std::strerror(errno));
}

}  // namespace rse
