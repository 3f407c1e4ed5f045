#include "core/config_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <limits>
#include <sstream>

#include "core/check.h"
#include "core/file.h"
#include "core/parse_number.h"
#include "core/utf8.h"
#include "core/yaml_slip.h"

#ifndef RSE_SOURCE_CONFIGS
#define RSE_SOURCE_CONFIGS ""
#endif

namespace rse {

const ConfigNode* ConfigNode::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

ConfigNode* ConfigNode::find(std::string_view key) {
  return const_cast<ConfigNode*>(static_cast<const ConfigNode*>(this)->find(key));
}

ConfigNode ConfigNode::take(std::string_view key) {
  for (auto it = entries.begin(); it != entries.end(); ++it) {
    if (it->first != key) continue;
    ConfigNode value = std::move(it->second);
    entries.erase(it);
    return value;
  }
  return {};
}

namespace {

// A longer key might be no YAML key any more once it is dumped with escapes: YAML allows 1,024 characters.
void check_key(const std::string& key, const std::string& where) {
  if (key.size() <= kMaxConfigKeyBytes) return;
  throw_user_error("{}: a key of {} bytes: expected at most {}", where, key.size(), kMaxConfigKeyBytes);
}

// Builds the tree from parser events, which (unlike YAML::Node) show duplicate keys, anchors and aliases.
class TreeBuilder : public YAML::EventHandler {
 public:
  // numbered: the place of a node is "NAME:LINE", else it is NAME.
  TreeBuilder(std::string_view text, std::string name, bool numbered)
      : text_(text), name_(std::move(name)), numbered_(numbered) {}
  ConfigNode root;
  int first_line = 0;

  std::string place(int line) const { return numbered_ ? fmt::format("{}:{}", name_, line) : name_; }
  void refuse_slip(int last_line) const {
    if (const auto slip = find_yaml_slip(text_, last_line)) {
      throw_user_error("{}: not valid YAML: {}", place(slip->line), slip->what);
    }
  }

  void OnDocumentStart(const YAML::Mark& mark) override { first_line = mark.line + 1; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    add(mark, ConfigNode::Kind::kNull, "");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw_user_error("{}: YAML aliases are not supported; write the value out", at(mark));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (value.find('\0') != std::string::npos || utf8_error_position(value) < value.size()) {  // by escapes
      throw_user_error("{}: a NUL byte or half a surrogate pair: expected text", at(mark));
    }
    if (tag == "?") refuse_folded_line(mark, value);
    if (tag == "!") refuse_block_text(mark);
    if (!stack_.empty() && stack_.back().node.kind == ConfigNode::Kind::kMap && !stack_.back().has_key) {
      Frame& frame = stack_.back();
      check_key(value, at(mark));
      if (const ConfigNode* earlier = frame.node.find(value)) {
        throw_user_error("{}: key '{}' is written twice (first at {})", at(mark), value, earlier->where);
      }
      frame.key = value;
      frame.key_where = at(mark);
      frame.has_key = true;
      return;
    }
    add(mark, ConfigNode::Kind::kScalar, value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse_tag(mark, tag);
    open(mark, anchor, ConfigNode::Kind::kList);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse_tag(mark, tag);
    open(mark, anchor, ConfigNode::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    ConfigNode node;
    std::string key, key_where;
    bool has_key = false;
  };

  std::string at(const YAML::Mark& mark) const { return place(mark.line + 1); }

  // The line of a scalar; scalars come in the order of the text.
  std::string_view line_of(const YAML::Mark& mark) {
    for (; lines_read_ < mark.line; ++lines_read_) line_at_ = text_.find('\n', line_at_) + 1;
    return text_.substr(line_at_, text_.find('\n', line_at_) - line_at_);
  }

  // YAML joins a plain value with the lines below it that are no keys. That is never meant here: an
  // indentation is wrong, or "key:value" lacks its space.
  void refuse_folded_line(const YAML::Mark& mark, const std::string& value) {
    const std::string_view line = line_of(mark);
    const bool replaced = value.find("\xEF\xBF\xBD") != std::string::npos;  // what YAML may not hold
    if (replaced || line.find(value) != std::string_view::npos) return;
    refuse_slip(mark.line + 2);
    throw_user_error(
        "{}: '{}': found a value that goes on in the next line: expected it in one line, or in quotes",
        at(mark), cut_for_message(value));
  }

  // "|" and ">" begin text of several lines, which no key takes.
  void refuse_block_text(const YAML::Mark& mark) {
    const std::string_view line = line_of(mark);
    const auto at_mark = static_cast<size_t>(mark.column);  // in bytes
    if (at_mark >= line.size() || (line[at_mark] != '|' && line[at_mark] != '>')) return;
    throw_user_error("{}: found '{}': expected a value in the same line, or in quotes", at(mark),
                     line[at_mark]);
  }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != 0) throw_user_error("{}: YAML anchors are not supported; write the value out", at(mark));
  }

  // The parser itself calls plain values "?" and quoted ones "!".
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw_user_error("{}: YAML tags are not supported: '{}'", at(mark), tag);
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, ConfigNode::Kind kind) {
    refuse_anchor(mark, anchor);
    if (static_cast<int>(stack_.size()) >= kMaxConfigDepth) {
      throw_user_error("{}: nested deeper than {} levels", at(mark), kMaxConfigDepth);
    }
    if (!stack_.empty() && stack_.back().node.kind == ConfigNode::Kind::kMap && !stack_.back().has_key) {
      refuse_slip(std::numeric_limits<int>::max());
      throw_user_error("{}: a key must be a plain word", at(mark));
    }
    Frame frame;
    frame.node.kind = kind;
    frame.node.where = at(mark);
    stack_.push_back(std::move(frame));
  }

  void close() {
    ConfigNode node = std::move(stack_.back().node);
    stack_.pop_back();
    attach(std::move(node));
  }

  void add(const YAML::Mark& mark, ConfigNode::Kind kind, const std::string& value) {
    ConfigNode node;
    node.kind = kind;
    node.scalar = value;
    node.where = at(mark);
    attach(std::move(node));
  }

  void attach(ConfigNode node) {
    if (++values_ > kMaxConfigValues) {
      throw_user_error("{}: over {} values: expected a smaller configuration", node.where, kMaxConfigValues);
    }
    if (stack_.empty()) {
      root = std::move(node);
    } else if (Frame& frame = stack_.back(); frame.node.kind == ConfigNode::Kind::kList) {
      frame.node.items.push_back(std::move(node));
    } else {
      if (!frame.has_key) throw_user_error("{}: found no key before ',': expected 'key: value'", node.where);
      // The parser marks a block of keys with its first line, but what is wrong with it is wrong with its key.
      if (node.kind != ConfigNode::Kind::kScalar) node.where = frame.key_where;
      frame.node.entries.emplace_back(std::move(frame.key), std::move(node));
      frame.key.clear();
      frame.has_key = false;
    }
  }

  std::string_view text_;
  std::string name_;
  bool numbered_;
  std::vector<Frame> stack_;
  int values_ = 0;
  int lines_read_ = 0;  // up to line_at_, the place of the line of the last scalar in text_
  size_t line_at_ = 0;
};

// What the parser said in its words, with the character that it stopped at.
[[noreturn]] void throw_parser_error(std::string_view text, const YAML::Exception& error,
                                     const std::string& place) {
  size_t at = 0;
  for (int line = 0; line < error.mark.line && at < text.size(); ++line) {
    at = std::min(text.find('\n', at), text.size() - 1) + 1;
  }
  at = std::min(at + static_cast<size_t>(std::max(error.mark.column, 0)), text.size());
  throw_user_error("{}: not valid YAML: found {} in column {}: {}", place, show_character(text, at),
                   error.mark.column + 1, error.msg);
}

void check_characters(std::string_view text, const std::string& name, bool numbered) {
  if (text.size() > kMaxConfigBytes) {
    throw_user_error("{}: {} bytes, a configuration has at most {}", name, text.size(), kMaxConfigBytes);
  }
  if (const size_t bad = std::min(text.find('\0'), utf8_error_position(text)); bad < text.size()) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
    throw_user_error("{}{}: byte 0x{:02X}: expected YAML in UTF-8", name,
                     numbered ? fmt::format(":{}", line) : "", static_cast<unsigned char>(text[bad]));
  }
}

ConfigNode parse_any(std::string_view text, const std::string& name, bool numbered = true) {
  check_characters(text, name, numbered);
  // yaml-cpp accepts a quote that is never closed where the text ends in a line feed, so a comment follows
  // it.
  std::istringstream stream(std::string(text) + (text.ends_with('\n') ? "#" : "\n#"));
  TreeBuilder builder(text, name, numbered);
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    TreeBuilder rest(text, name, numbered);
    if (parser.HandleNextDocument(rest)) {
      builder.refuse_slip(rest.first_line);
      throw_user_error("{}: more than one YAML document: expected one", builder.place(rest.first_line));
    }
  } catch (const YAML::Exception& error) {
    builder.refuse_slip(error.mark.line + 1);
    throw_parser_error(text, error, builder.place(error.mark.line + 1));
  }
  return std::move(builder.root);
}

}  // namespace

ConfigNode parse_config(std::string_view text, const std::string& name) {
  ConfigNode root = parse_any(text, name);
  if (root.kind == ConfigNode::Kind::kNull) {
    root.kind = ConfigNode::Kind::kMap;
    root.where = name;
  }
  if (root.kind == ConfigNode::Kind::kScalar) {
    throw_user_error("{}: '{}': expected a map of keys at the top, such as 'train: {{steps: 6}}'{}",
                     root.where, cut_for_message(root.scalar), missing_space_hint(root.scalar));
  }
  if (root.kind != ConfigNode::Kind::kMap) {
    throw_user_error("{}: expected a map of keys at the top", root.where);
  }
  return root;
}

ConfigNode read_config_tree(const std::filesystem::path& path) {
  std::error_code not_regular;  // its size is known once it is read
  if (const auto bytes = std::filesystem::file_size(path, not_regular);
      !not_regular && bytes > kMaxConfigBytes) {
    throw_user_error("{}: {} bytes, a configuration has at most {}", path.string(), bytes, kMaxConfigBytes);
  }
  return parse_config(read_file(path), path.string());
}

void merge_config(ConfigNode& base, const ConfigNode& over) {
  if (base.kind != ConfigNode::Kind::kMap || over.kind != ConfigNode::Kind::kMap) {
    base = over;
    return;
  }
  for (const auto& [key, value] : over.entries) {
    if (ConfigNode* mine = base.find(key)) {
      merge_config(*mine, value);
    } else {
      base.entries.emplace_back(key, value);
    }
  }
}

namespace {

ConfigNode parse_set_value(const std::string& key, const std::string& text, const std::string& where) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) throw_user_error("{}: {}: not set: expected a value after '='", where, key);
  check_characters(text, where, /*numbered=*/false);
  const std::string trimmed = text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
  ConfigNode value;
  std::string problem;
  try {
    value = parse_any(text, where, /*numbered=*/false);
  } catch (const UserError& error) {
    problem = error.what();
  }
  const char first = trimmed.front();
  const bool quoted = (first == '"' || first == '\'') && trimmed.size() > 1 && trimmed.back() == first;
  if (problem.empty() && value.kind == ConfigNode::Kind::kScalar && quoted) {
    value.set_text = value.scalar;
    return value;
  }
  value.set_text = text;
  const bool null = trimmed == "~" || trimmed == "null" || trimmed == "Null" || trimmed == "NULL";
  if (!problem.empty() || value.kind == ConfigNode::Kind::kScalar ||
      (value.kind == ConfigNode::Kind::kNull && !null)) {
    value.kind = ConfigNode::Kind::kScalar;
    value.scalar = trimmed;
    if (first == '[' || first == '{') value.set_problem = problem;
  }
  return value;
}

}  // namespace

void set_config_value(ConfigNode& root, const std::string& assignment) {
  constexpr const char* kKeyCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  const size_t equals = assignment.find('=');
  constexpr size_t kShown = 100;
  const std::string where =
      "--set " + (assignment.size() > kShown ? assignment.substr(0, kShown - 3) + "..." : assignment);
  if (equals == std::string::npos || equals == 0) {
    throw_user_error("{}: expected KEY=VALUE, such as train.steps=100", where);
  }
  ConfigNode value = parse_set_value(assignment.substr(0, equals), assignment.substr(equals + 1), where);
  const std::function<int64_t(ConfigNode&)> mark = [&](ConfigNode& node) -> int64_t {  // levels it nests
    node.where = where;
    int64_t inner = 0;
    for (ConfigNode& item : node.items) inner = std::max(inner, mark(item));
    for (auto& entry : node.entries) inner = std::max(inner, mark(entry.second));
    return node.kind == ConfigNode::Kind::kList || node.kind == ConfigNode::Kind::kMap ? inner + 1 : 0;
  };
  const int64_t levels = mark(value) + 1 + std::count(assignment.begin(), assignment.begin() + equals, '.');
  if (levels > kMaxConfigDepth) throw_user_error("{}: nested deeper than {} levels", where, kMaxConfigDepth);
  ConfigNode* node = &root;
  std::istringstream path(assignment.substr(0, equals));
  for (std::string key; std::getline(path, key, '.');) {
    if (key.empty()) throw_user_error("{}: a key between dots is empty", where);
    check_key(key, where);
    if (key.find_first_not_of(kKeyCharacters) != std::string::npos) {
      throw_user_error("{}: key '{}': expected letters, digits, '_' and '-'", where, key);
    }
    if (node->kind != ConfigNode::Kind::kMap) {
      *node = ConfigNode{};
      node->kind = ConfigNode::Kind::kMap;
      node->where = where;
    }
    if (node->find(key) == nullptr) {
      node->entries.emplace_back(key, ConfigNode{});
      node->entries.back().second.where = where;
    }
    node = node->find(key);
  }
  *node = std::move(value);
}

std::string missing_space_hint(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size() || text[colon + 1] == ' ')
    return "";
  return fmt::format("; found {} after ':', expected a space there", show_character(text, colon + 1));
}

std::filesystem::path find_config(const std::string& name) {
  namespace fs = std::filesystem;
  if (name.empty()) throw_user_error("configuration '': expected a file, or the name of a shipped one");
  std::error_code ignored;
  if (fs::exists(name, ignored)) return name;
  std::vector<fs::path> tried = {fs::absolute(name)};
  if (name.find('/') == std::string::npos) {
    const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
    tried.push_back(fs::path(RSE_SOURCE_CONFIGS) / name);
    tried.push_back(program.parent_path().parent_path() / "share/rse/configs" / name);
    for (const fs::path& candidate : tried) {
      if (fs::is_regular_file(candidate, ignored)) return candidate;
    }
  }
  std::vector<std::string> names;
  std::transform(tried.begin(), tried.end(), std::back_inserter(names),
                 [](const fs::path& path) { return path.string(); });
  throw_user_error("configuration '{}' was not found; looked at {}", name, fmt::join(names, ", "));
}

}  // namespace rse
