// Typed configuration: a struct lists its fields once, and from that list it is read, checked and dumped.
//
//   struct OptimizerConfig {
//     double learning_rate = 1e-3;
//     void bind(ConfigBinder& b) { b.field("learning_rate", learning_rate, above(0.0)); }
//   };
//   OptimizerConfig config;  bind_config(tree, config);   // reads; unknown keys are errors
//   ConfigNode effective = dump_bound(config);              // every key with its value in effect
//
// Errors are UserErrors: "FILE:LINE: a.b.c: 'value': expected ...". An unknown key names the nearest known
// one.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/config_tree.h"

namespace rse {

// The values a number may take: [low, high], or open at an end.
template <typename T>
struct Range {
  T low = std::numeric_limits<T>::lowest();
  T high = std::numeric_limits<T>::max();
  bool low_open = false;
  bool high_open = false;
  bool contains(T value) const {
    return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
  }
  std::string describe() const;
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

class ConfigBinder {
 public:
  // Reading: `node` is consumed key by key. Dumping: pass nullptr.
  ConfigBinder(const ConfigNode* node, std::string prefix);

  void field(const char* key, bool& value);
  void field(const char* key, int64_t& value, Range<int64_t> range);
  void field(const char* key, double& value, Range<double> range);
  void field(const char* key, std::string& value);
  void field(const char* key, std::vector<int64_t>& value, Range<int64_t> range);
  void field(const char* key, std::vector<double>& value, Range<double> range);
  void field(const char* key, std::vector<std::string>& value);

  // An enumeration by its written names.
  template <typename E>
  void choice(const char* key, E& value, const std::vector<std::pair<std::string, E>>& names) {
    std::vector<std::string> words;
    std::string current;
    for (const auto& [name, item] : names) {
      words.push_back(name);
      if (item == value) current = name;
    }
    choose(key, current, words);
    for (const auto& [name, item] : names) {
      if (name == current) value = item;
    }
  }

  // A nested struct with its own bind().
  template <typename T>
  void group(const char* key, T& nested) {
    ConfigBinder inner(enter(key), path(key));
    nested.bind(inner);
    inner.finish();
    if (!reading()) put(key, std::move(inner.dumped_));
  }

  // Keys beyond the bound ones are errors. Called by bind_config and group.
  void finish() const;

  // For checks that span fields, inside bind(): is this a read, and where was `key` written?
  bool reading() const { return node_ != nullptr; }
  std::string where(const char* key) const;
  std::string path(const char* key) const;

  ConfigNode take_dumped() { return std::move(dumped_); }

 private:
  const ConfigNode* enter(const char* key);
  const ConfigNode* scalar(const char* key);
  const ConfigNode* list(const char* key);
  void choose(const char* key, std::string& value, const std::vector<std::string>& words);
  void put(const char* key, ConfigNode node);
  void put_scalar(const char* key, std::string text);

  const ConfigNode* node_;
  std::string prefix_;
  std::vector<std::string> known_;
  ConfigNode dumped_;
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

}  // namespace rse
