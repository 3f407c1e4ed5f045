// Typed configuration: a struct lists its keys once in bind(), and from that list it is read, checked and
// dumped.
//
//   struct OptimizerConfig {
//     double learning_rate = 1e-3;
//     void bind(ConfigBinder& b) { b.field("learning_rate", learning_rate, above(0.0)); }
//   };
//   OptimizerConfig config;  bind_config(tree, config);   // reads; unknown keys are errors
//   ConfigNode effective = dump_bound(config);              // every key with its value in effect
//   KeyRules rules = key_rules_of<OptimizerConfig>();       // what may be done to each key
//
// Invariant: all keys that a struct binds are in its dump, which reads back to the same values. The last
// argument of field(), choice() and group() is the key's rule (core/key_rules.h); that of a group holds for
// every key below it.
//
// Errors are UserErrors: "FILE:LINE: a.b.c: 'value': expected ...". The message of an unknown key names the
// nearest known one.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/config_tree.h"
#include "core/enum_names.h"
#include "core/key_rules.h"
#include "core/parse_number.h"

namespace rse {

class ConfigBinder {
 public:
  // Reads from `node`; with nullptr, dumps the values and collects the rules instead.
  ConfigBinder(const ConfigNode* node, std::string prefix);

  void field(const char* key, bool& value, const KeyRule& rule = {});
  void field(const char* key, int64_t& value, Range<int64_t> range, const KeyRule& rule = {});
  void field(const char* key, double& value, Range<double> range, const KeyRule& rule = {});
  void field(const char* key, std::string& value, const KeyRule& rule = {});
  // A file or folder, which check_written_path() (core/written_path.h) must accept. An empty `value` is one
  // that is not set, written as null or left out.
  void path_field(const char* key, std::string& value, const KeyRule& rule = {});
  void field(const char* key, std::vector<int64_t>& value, Range<int64_t> range, const KeyRule& rule = {});
  void field(const char* key, std::vector<double>& value, Range<double> range, const KeyRule& rule = {});

  // An enumeration by its written names.
  template <typename E>
  void choice(const char* key, E& value, const EnumNames<E>& names, const KeyRule& rule = {}) {
    std::vector<std::string> words;
    std::string current;
    for (const auto& [name, item] : names) {
      words.push_back(name);
      if (item == value) current = name;
    }
    choose(key, current, words, rule);
    for (const auto& [name, item] : names) {
      if (name == current) value = item;
    }
  }

  // A nested struct with a bind() of its own.
  template <typename T>
  void group(const char* key, T& nested, const KeyRule& rule = {}) {
    declare(key, path(key) + ".*", rule);
    ConfigBinder inner(enter(key), path(key));
    nested.bind(inner);
    inner.finish();
    if (!reading()) put(key, std::move(inner.dumped_));
    for (const auto& [pattern, said] : inner.rules_.all()) rules_.add(pattern, said);
  }

  // Throws for a key that was not bound. bind_config() and group() call it.
  void finish() const;

  // For checks inside bind() that span fields: whether values are being read, and where `key` was written.
  bool reading() const { return node_ != nullptr; }
  std::string where(const char* key) const;
  std::string path(const char* key) const;

  ConfigNode take_dumped() { return std::move(dumped_); }
  KeyRules take_rules() { return std::move(rules_); }

 private:
  // Makes a key known, with its rule. Every key is declared before it is looked up.
  void declare(const char* key, std::string pattern, const KeyRule& rule);
  const ConfigNode* find(const char* key) const;
  const ConfigNode* enter(const char* key) const;
  const ConfigNode* scalar(const char* key) const;
  const ConfigNode* list(const char* key) const;
  const ConfigNode* text(const char* key, std::string& value) const;
  void choose(const char* key, std::string& value, const std::vector<std::string>& words,
              const KeyRule& rule);
  void put(const char* key, ConfigNode node);
  void put_scalar(const char* key, std::string text);

  const ConfigNode* node_;
  std::string prefix_;
  std::vector<std::string> known_;
  ConfigNode dumped_;
  KeyRules rules_;  // collected while dumping
};

template <typename T>
void bind_config(const ConfigNode& tree, T& config) {
  ConfigBinder binder(&tree, "");
  config.bind(binder);
  binder.finish();
}

template <typename T>
ConfigNode dump_bound(const T& config) {
  T copy = config;
  ConfigBinder binder(nullptr, "");
  copy.bind(binder);
  return binder.take_dumped();
}

// The rules that T's bind() states, in the order in which it binds.
template <typename T>
KeyRules key_rules_of() {
  T defaults;
  ConfigBinder binder(nullptr, "");
  defaults.bind(binder);
  return binder.take_rules();
}

}  // namespace rse
