#include "core/yaml_slip.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/check.h"
#include "core/parse_number.h"

namespace rse {
namespace {

constexpr size_t kNone = std::string_view::npos;

bool is_space(char c) { return c == ' ' || c == '\t'; }
bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

size_t skip_spaces(std::string_view line, size_t at) {
  while (at < line.size() && is_space(line[at])) ++at;
  return at;
}

// Is a comment or the end of the line at `at`, where a value may end?
bool ends_at(std::string_view line, size_t at) {
  return at >= line.size() || (line[at] == '#' && (at == 0 || is_space(line[at - 1])));
}

// From 1, in characters.
size_t column(std::string_view line, size_t at) {
  return 1 + static_cast<size_t>(std::count_if(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(at),
                                               [](char c) { return !is_continuation(c); }));
}

char closing(char opening) { return opening == '[' ? ']' : opening == '{' ? '}' : opening; }

// The ':' of "key: " or "key:" at the end of the line, at or after `at`, before a comment; kNone where there
// is none.
size_t find_colon(std::string_view line, size_t at) {
  for (; at < line.size() && !ends_at(line, at); ++at) {
    if (line[at] == ':' && (at + 1 == line.size() || is_space(line[at + 1]))) return at;
  }
  return kNone;
}

// The text from `at` to the end of the line without a comment and without spaces at its end.
std::string plain_text(std::string_view line, size_t at) {
  size_t end = at;
  while (!ends_at(line, end)) ++end;
  while (end > at && is_space(line[end - 1])) --end;
  return std::string(line.substr(at, end - at));
}

class SlipFinder {
 public:
  std::optional<YamlSlip> find(std::string_view text) {
    for (size_t begin = 0; begin < text.size() && !slip_ && !other_document_;) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      line_ = text.substr(begin, end - begin);
      if (line_.ends_with('\r')) line_.remove_suffix(1);
      if (number_ == 0 && line_.starts_with("\xEF\xBB\xBF")) line_.remove_prefix(3);
      ++number_;
      read_line();
      begin = end + 1;
    }
    if (!slip_ && quote_.character != '\0') report_open(quote_);
    if (!slip_ && !flow_.empty()) report_open(flow_.back());
    return slip_;
  }

 private:
  struct Opened {
    char character = '\0';
    int line = 0;
    size_t column = 0;
    size_t indent = 0;        // of its line
    bool colon_seen = false;  // in the entry that is being read
  };
  struct Level {
    size_t indent;
    bool list;
    int line;  // the last one at this level
  };

  template <typename... Args>
  void report(int line, fmt::format_string<Args...> format, Args&&... args) {
    if (!slip_) slip_ = YamlSlip{line, fmt::format(format, std::forward<Args>(args)...)};
  }
  void report_open(const Opened& opened) {
    const char* what = opened.character == '[' || opened.character == '{' ? "bracket" : "quote";
    report(opened.line, "found an opening {} {} in column {}: expected {} to close it", what,
           opened.character, opened.column, closing(opened.character));
  }

  void read_line() {
    const size_t begin = skip_spaces(line_, 0);
    if (quote_.character != '\0') {
      report_open(
          quote_);  // quotes over several lines are legal, but this text is not, and they seldom are meant
    } else if (!flow_.empty()) {
      if (begin <= flow_.front().indent && begin < line_.size() &&
          std::isalpha(static_cast<unsigned char>(line_[begin])) != 0 && find_colon(line_, begin) != kNone) {
        report_open(flow_.back());  // the next key of the block begins while a bracket is open
      } else {
        read_flow(begin);
      }
    } else if (in_block_text_ && (begin == line_.size() || begin >= block_text_indent_)) {
      if (begin < line_.size() && block_text_begins_) block_text_indent_ = begin;
      block_text_begins_ = block_text_begins_ && begin == line_.size();
    } else if (!ends_at(line_, begin)) {
      in_block_text_ = false;
      read_block_line(begin);
    }
  }

  void read_block_line(size_t at) {
    if (line_.starts_with("---") || line_.starts_with("...")) {
      other_document_ = !levels_.empty();
      return;
    }
    if (line_.front() == '%' && levels_.empty()) return;
    if (line_.substr(0, at).find('\t') != kNone) {
      report(number_, "found a tab in the indentation: expected spaces");
      return;
    }
    const auto is_item = [&](size_t place) {
      return line_[place] == '-' && (place + 1 == line_.size() || is_space(line_[place + 1]));
    };
    bool item = is_item(at);
    check_indentation(at, item);
    indent_ = at;
    opens_ = true;
    while (item) {
      at = skip_spaces(line_, at + 1);
      if (ends_at(line_, at)) return;
      item = is_item(at);
      if (item || find_colon(line_, at) != kNone) levels_.push_back({at, item, number_});
    }
    read_node(at, /*is_value=*/false);
  }

  void check_indentation(size_t indent, bool item) {
    if (levels_.empty() || (indent > levels_.back().indent && opens_)) {
      levels_.push_back({indent, item, number_});
      return;
    }
    if (indent > levels_.back().indent) {
      report(number_, "found an indentation of {}: expected {}, as in line {}", indent, levels_.back().indent,
             levels_.back().line);
      return;
    }
    std::vector<size_t> known;
    for (const Level& level : levels_) {
      if (known.empty() || known.back() != level.indent) known.push_back(level.indent);
    }
    while (!levels_.empty() && levels_.back().indent > indent) levels_.pop_back();
    if (levels_.empty() || levels_.back().indent != indent) {
      report(number_, "found an indentation of {}: expected {}, as in the lines above", indent,
             fmt::join(known, " or "));
      return;
    }
    const int above = levels_.back().line;
    if (item && !levels_.back().list) {
      if (!opens_) report(number_, "found '-': expected a key, as in line {}", above);
      levels_.push_back({indent, true, number_});  // the items of a key may stand as deep as the key
    } else if (!item && levels_.back().list) {
      levels_.pop_back();
      if (levels_.empty() || levels_.back().indent != indent) {
        report(number_, "found {}: expected '- ', as in line {}", show_character(line_, indent), above);
        return;
      }
    }
    levels_.back().line = number_;
  }

  // A key with its value, or (is_value) the value behind a key. `at` is at its first character.
  void read_node(size_t at, bool is_value) {
    opens_ = false;
    const char first = line_[at];
    if (first == '"' || first == '\'') {
      const size_t end = close_quote(at);
      if (end == kNone) return;
      read_rest(end, "quote", is_value);
    } else if (first == '[' || first == '{') {
      flow_.push_back({first, number_, column(line_, at), indent_, false});
      read_flow(at + 1);
    } else if (first == '@' || first == '`' || first == '%') {
      report_reserved(at);
    } else if (first == '|' || first == '>') {
      in_block_text_ = true;
      block_text_begins_ = true;
      block_text_indent_ = indent_ + 1;
    } else if (first != '&' && first != '*' && first != '!' && first != '?') {
      read_plain(at, is_value);
    }
  }

  void read_plain(size_t at, bool is_value) {
    const size_t colon = find_colon(line_, at);
    if (is_value) {
      if (line_[at] == '-' && at + 1 < line_.size() && is_space(line_[at + 1])) {
        report(number_, "found '-' in column {}: expected list items on lines of their own, or [a, b]",
               column(line_, at));
      } else if (colon != kNone) {
        report(number_, "found a second ':' in column {}: expected one key, or quotes around its value",
               column(line_, colon));
      }
      return;
    }
    if (colon != kNone) {
      read_value(colon + 1);
    } else if (!levels_.empty() && !levels_.back().list) {
      report_no_key(at);
    }
  }

  void read_value(size_t at) {
    at = skip_spaces(line_, at);
    opens_ = ends_at(line_, at);
    if (!opens_) read_node(at, /*is_value=*/true);
  }

  void report_no_key(size_t at) {
    const std::string found = plain_text(line_, at);
    const size_t colon = found.find(':');
    if (colon != kNone && colon + 1 < found.size()) {
      report(number_, "found {} after the ':' of '{}': expected a space", show_character(found, colon + 1),
             cut_for_message(found));
    } else {
      report(number_, "found '{}': expected 'key: value'", cut_for_message(found));
    }
  }

  void report_reserved(size_t at) {
    report(number_, "found {} in column {}: expected quotes around a value that begins with it",
           show_character(line_, at), column(line_, at));
  }

  // What follows a closing quote or bracket outside brackets.
  void read_rest(size_t at, const char* after, bool is_value) {
    at = skip_spaces(line_, at);
    if (ends_at(line_, at)) return;
    if (line_[at] == ':' && !is_value) {
      read_value(at + 1);
      return;
    }
    report(number_, "found {} in column {}, after a closing {}: expected the end of the line",
           show_character(line_, at), column(line_, at), after);
  }

  // The place after the quote that closes the one at `at`; kNone where it is not closed in this line.
  size_t close_quote(size_t at) {
    const char quote = line_[at];
    for (size_t i = at + 1; i < line_.size(); ++i) {
      if (quote == '"' && line_[i] == '\\') {
        ++i;
      } else if (line_[i] == quote) {
        if (quote == '"' || i + 1 == line_.size() || line_[i + 1] != quote) return i + 1;
        ++i;  // '' within single quotes stands for '
      }
    }
    quote_ = {quote, number_, column(line_, at), indent_, false};
    return kNone;
  }

  // From `at` inside brackets to the end of the line, or to the bracket that closes the outermost one.
  void read_flow(size_t at) {
    bool value_begins = true;
    for (; at < line_.size() && !ends_at(line_, at); ++at) {
      const char c = line_[at];
      if (is_space(c)) continue;
      if (value_begins && (c == '"' || c == '\'')) {
        const size_t end = close_quote(at);
        if (end == kNone) return;
        at = end - 1;
        value_begins = false;
      } else if (c == '[' || c == '{') {
        flow_.push_back({c, number_, column_behind(at), indent_, false});
        value_begins = true;
      } else if (c == ']' || c == '}') {
        if (!close_bracket(at)) return;
        if (flow_.empty()) return read_rest(at + 1, "bracket", true);
        value_begins = false;
      } else if (c == ',') {
        flow_.back().colon_seen = false;
        value_begins = true;
      } else if (c == ':' && (at + 1 == line_.size() || is_space(line_[at + 1]))) {
        if (flow_.back().colon_seen) {
          report(number_, "found a second ':' in column {}: expected ',' before its key", column(line_, at));
          return;
        }
        flow_.back().colon_seen = true;
        value_begins = true;
      } else {
        if (value_begins && (c == '@' || c == '`' || c == '%')) return report_reserved(at);
        value_begins = false;
      }
    }
  }

  // column(line_, at), from where the last call in this line ended: a line may be a megabyte of brackets.
  size_t column_behind(size_t at) {
    if (counted_line_ != number_ || at < counted_) {
      counted_line_ = number_;
      counted_ = 0;
      counted_column_ = 0;
    }
    counted_column_ += column(line_.substr(counted_), at - counted_) - 1;
    counted_ = at;
    return counted_column_ + 1;
  }

  bool close_bracket(size_t at) {
    const Opened& opened = flow_.back();
    if (line_[at] != closing(opened.character)) {
      report(number_, "found '{}' in column {}: expected '{}', which closes the '{}' in line {}, column {}",
             line_[at], column(line_, at), closing(opened.character), opened.character, opened.line,
             opened.column);
      return false;
    }
    flow_.pop_back();
    return true;
  }

  std::string_view line_;
  int number_ = 0;
  std::optional<YamlSlip> slip_;
  std::vector<Level> levels_;  // of the block that is being read, outermost first
  std::vector<Opened> flow_;   // open brackets, outermost first
  int counted_line_ = 0;       // column_behind() has counted up to byte counted_ of this line
  size_t counted_ = 0, counted_column_ = 0;
  Opened quote_;                    // open at the end of a line
  size_t indent_ = 0;               // of the last line of a block
  bool opens_ = false;              // may the next line be deeper?
  bool in_block_text_ = false;      // behind | or >
  bool block_text_begins_ = false;  // no line of it was read yet
  size_t block_text_indent_ = 0;    // at least; that of its first line once it was read
  bool other_document_ = false;
};

}  // namespace

std::optional<YamlSlip> find_yaml_slip(std::string_view text, int last_line) {
  std::optional<YamlSlip> slip = SlipFinder().find(text);
  return slip && slip->line <= last_line ? slip : std::nullopt;
}

std::string show_character(std::string_view text, size_t at) {
  if (at >= text.size() || text[at] == '\n' || text[at] == '\r') return "the end of the line";
  if (text[at] == '\t') return "a tab";
  if (text.substr(at).starts_with("\xC2\xA0")) return "a no-break space (U+00A0)";
  size_t end = at + 1;
  while (end < text.size() && is_continuation(text[end])) ++end;
  return fmt::format("'{}'", text.substr(at, end - at));
}

}  // namespace rse
