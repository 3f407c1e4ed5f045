// Text of any origin, made fit for one line of a terminal.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace rse {

// `text` with \x0A and its like in place of control characters, so that it stays in its line.
inline std::string printable(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    line += byte < 0x20 || byte == 0x7F ? fmt::format("\\x{:02X}", byte) : std::string(1, c);
  }
  return line;
}

}  // namespace rse
