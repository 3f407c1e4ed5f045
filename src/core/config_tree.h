// A configuration as it was read: a tree of scalars, lists and maps, each of which knows where it was
// written.
//
// Order of calls: read_config_tree(file) -> merge_config() for the overrides of arms -> set_config_value()
// for --set -> bind_config() into typed structs (core/config_binder.h). After that nobody looks up strings.
// Invariants: map keys are unique; anchors, aliases, tags and NUL bytes are refused; a tree is within
// kMaxConfigBytes, kMaxConfigDepth, kMaxConfigKeyBytes and kMaxConfigValues. Errors are UserErrors that begin
// with "FILE:LINE:".
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rse {

inline constexpr size_t kMaxConfigBytes = size_t{1} << 20;
inline constexpr int kMaxConfigDepth = 32;
inline constexpr size_t kMaxConfigKeyBytes = 128;
inline constexpr int kMaxConfigValues = 10000;  // a map's keys are searched one by one

struct ConfigNode {
  ConfigNode() {}  // not defaulted: clang 14 would look into `entries` before its pairs are complete
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  std::string scalar;
  std::vector<ConfigNode> items;
  std::vector<std::pair<std::string, ConfigNode>> entries;  // in written order
  std::string where;                                        // "file.yaml:12" or "--set a.b=c"
  std::optional<std::string>
      set_text;             // of --set: its value as given, which is what keys that hold text take
  std::string set_problem;  // of --set: why its value is no list or map, though it begins like one

  // The entry's value, or nullptr.
  const ConfigNode* find(std::string_view key) const;
  ConfigNode* find(std::string_view key);
  // Removes the entry and returns its value; kNull where there is none.
  ConfigNode take(std::string_view key);
};

// Parses YAML text; `name` stands for the file in messages. An empty text is an empty map; every other
// document must be a map.
ConfigNode parse_config(std::string_view text, const std::string& name);

ConfigNode read_config_tree(const std::filesystem::path& path);

// `over` wins; maps merge key by key, everything else is replaced.
void merge_config(ConfigNode& base, const ConfigNode& over);

// Applies one "--set a.b=c", and makes maps on the way. c is never empty. Keys that hold text take it whole,
// as if it stood in quotes, unless it is quoted itself; elsewhere it is read as YAML where that gives a list
// or a map, and is a value without its outer spaces where not (so nothing is a comment).
void set_config_value(ConfigNode& root, const std::string& assignment);

// "; found '6' after ':', expected a space there" for text such as "steps:6", which YAML takes for one word;
// else "".
std::string missing_space_hint(const std::string& text);

// YAML text that parse_config reads back to the same tree (Unicode's noncharacters become U+FFFD).
std::string dump_config(const ConfigNode& root);

// The file `name` if it exists; otherwise the shipped configuration of that name, beside the sources that
// this program was built from, or installed with it. The UserError lists the places that were looked at.
std::filesystem::path find_config(const std::string& name);

}  // namespace rse
