// Finds the slip in a text that the YAML parser refused. The parser names the place where it gave up, which
// for an open quote or bracket, a wrong indentation or `steps:6` lies lines behind the mistake, and in words
// of its own.
//
// It looks for: tabs and wrong depth in the indentation, a key without ": ", a second ": ", quotes and
// brackets that are not closed or closed by another one, text after a closing quote or bracket, characters
// that no plain value begins with. It knows the YAML that configurations are written in and says nothing of
// the rest.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rse {

struct YamlSlip {
  int line = 0;      // from 1
  std::string what;  // "found ...: expected ..."
};

// The first slip of `text` (UTF-8) up to `last_line`, where the parser gave up.
std::optional<YamlSlip> find_yaml_slip(std::string_view text, int last_line);

// The character at a byte of `text` as messages show it: 'x', a tab, the end of the text.
std::string show_character(std::string_view text, size_t at);

}  // namespace rse
