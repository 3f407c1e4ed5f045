#include "data/json_text.h"

#include <nlohmann/json.hpp>

#include "core/check.h"

namespace rse {
namespace {

constexpr size_t kEscapeBytes = 6;  // of \uXXXX

// The code unit of the escape \uXXXX at `position`, or -1.
int escaped_unit(const std::string& line, size_t position) {
  if (position + kEscapeBytes > line.size() || line.compare(position, 2, "\\u") != 0) return -1;
  int unit = 0;
  for (size_t i = position + 2; i < position + kEscapeBytes; ++i) {
    const char c = line[i];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return -1;
    unit = unit << 4 | digit;
  }
  return unit;
}

bool is_high(int unit) { return unit >= 0xD800 && unit <= 0xDBFF; }
bool is_low(int unit) { return unit >= 0xDC00 && unit <= 0xDFFF; }

}  // namespace

uint64_t replace_bad_escapes(std::string& line) {
  uint64_t replaced = 0;
  for (size_t i = line.find('\\'); i != std::string::npos && i + 1 < line.size(); i = line.find('\\', i)) {
    const int unit = escaped_unit(line, i);
    if (unit < 0) {
      i += 2;  // another escape, of two bytes
      continue;
    }
    if (is_high(unit) && is_low(escaped_unit(line, i + kEscapeBytes))) {
      i += 2 * kEscapeBytes;
      continue;
    }
    if (unit == 0 || is_high(unit) || is_low(unit)) {
      line.replace(i, kEscapeBytes, "\\ufffd");
      ++replaced;
    }
    i += kEscapeBytes;
  }
  return replaced;
}

std::string json_text(const std::string& line, const std::string& field,
                      const std::function<std::string()>& where) {
  nlohmann::json object;
  int found = 0;  // keys of that name; nlohmann::json keeps the last one's value
  const auto count_keys = [&](int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    if (event == nlohmann::json::parse_event_t::key && depth == 1 && parsed == field) ++found;
    return true;
  };
  try {
    object = nlohmann::json::parse(line, count_keys);
  } catch (const nlohmann::json::parse_error& error) {
    throw_user_error("{}: not JSON (at byte {} of the line): expected one object per line", where(),
                     error.byte);
  } catch (const nlohmann::json::out_of_range&) {
    throw_user_error("{}: a number beyond the range of a double: expected one that fits", where());
  }
  if (!object.is_object()) throw_user_error("{}: a JSON {}: expected an object", where(), object.type_name());
  if (found > 1)
    throw_user_error("{}: field '{}' is there {} times: expected it once", where(), field, found);
  const auto value = object.find(field);
  if (value == object.end()) throw_user_error("{}: no field '{}' in this object", where(), field);
  if (!value->is_string()) {
    throw_user_error("{}: field '{}' holds the JSON type {}: expected a string", where(), field,
                     value->type_name());
  }
  return std::move(value->get_ref<std::string&>());
}

}  // namespace rse
