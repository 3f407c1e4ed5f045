#include "core/parse_number.h"

#include <charconv>
#include <cmath>

#include "core/check.h"

namespace rse {

std::string cut_for_message(const std::string& text) {
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

template <typename T>
std::string Range<T>::describe(bool fully) const {
  const bool bounded_low = fully || low != std::numeric_limits<T>::lowest();
  const bool bounded_high = fully || high != std::numeric_limits<T>::max();
  std::string text;
  if (bounded_low) text = fmt::format("{} {}", low_open ? "above" : "of at least", low);
  if (bounded_high) {
    text += fmt::format("{}{} {}", bounded_low ? " and " : "", high_open ? "below" : "at most", high);
  }
  return text.empty() ? "(any)" : text;
}
template struct Range<int64_t>;
template struct Range<double>;

template <typename T>
T parse_number(const std::string& place, const std::string& text, const Range<T>& range) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  bool good = error == std::errc() && stop == end;
  if constexpr (std::is_floating_point_v<T>) good = good && std::isfinite(value);
  if (!good || !range.contains(value)) {
    const bool beyond_type = error == std::errc::result_out_of_range && stop == end;
    throw_user_error("{}: '{}': expected {} {}", place, cut_for_message(text),
                     std::is_floating_point_v<T> ? "a number" : "a whole number",
                     range.describe(beyond_type));
  }
  return value;
}
template int64_t parse_number(const std::string&, const std::string&, const Range<int64_t>&);
template double parse_number(const std::string&, const std::string&, const Range<double>&);

}  // namespace rse
