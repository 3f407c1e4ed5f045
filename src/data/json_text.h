// The text in one line of JSON lines.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace rse {

// JSON can spell what text cannot hold: halves of surrogate pairs alone (\ud83d), and NUL (\u0000). Replaces
// each of these escapes in the line by that of U+FFFD, of the same length, and returns how many there were.
uint64_t replace_bad_escapes(std::string& line);

// The string in field `field` of the object that is `line` (valid UTF-8 without bad escapes). UserError that
// begins with where() (called for that alone), where there is none, or more than one.
std::string json_text(const std::string& line, const std::string& field,
                      const std::function<std::string()>& where);

}  // namespace rse
