// Reads numbers that a user wrote, by one rule for configurations and flags.
//
// The rule: a whole number is a sign '-' or none and decimal digits, so leading zeros mean nothing (010 is
// ten); a number may also have a fraction and an exponent (1e-3). Anything else, among it '+', 0x10, nan,
// inf, spaces and numbers that the type cannot hold, is refused, and nothing is ever clamped.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace rse {

// The values that a number may take: [low, high], where either end may be open.
template <typename T>
struct Range {
  T low = std::numeric_limits<T>::lowest();
  T high = std::numeric_limits<T>::max();
  bool low_open = false;
  bool high_open = false;
  bool contains(T value) const {
    return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
  }
  // "of at least 1 and at most 100"; "(any)" where no end is bounded. `fully` also names the bounds of the
  // type.
  std::string describe(bool fully = false) const;
};

template <typename T>
Range<T> at_least(T low) {
  return {low, std::numeric_limits<T>::max(), false, false};
}
template <typename T>
Range<T> above(T low) {
  return {low, std::numeric_limits<T>::max(), true, false};
}
template <typename T>
Range<T> between(T low, T high) {
  return {low, high, false, false};
}

// The number that `text` is, for T = int64_t and double. UserError that begins with `place`, which names the
// key or the flag: "PLACE: 'TEXT': expected a whole number of at least 1 and at most 100".
template <typename T>
T parse_number(const std::string& place, const std::string& text, const Range<T>& range);

// `text` as messages show it: longer text is cut.
std::string cut_for_message(const std::string& text);

}  // namespace rse
