// Keys under `model.position:`, and what each position method states about itself before a model is made.
//
//   method          one of the methods listed in position_config.cpp
//   rotary_base     shared by the methods that rotate; bound by `rope`
//   METHOD: {...}   the keys of one method, bound in that method's own file
//
// The encoder, the checks before a run and the evaluation ask PositionConfig::active(); none of them knows a
// method by name. To add a method: one file here with a PositionSettings and a PositionMethod, its line in
// RSE_POSITION_METHODS (position_config.cpp), its line in src/nn/CMakeLists.txt, and its test.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/config_binder.h"

namespace rse {

struct ModelConfig;
struct PositionConfig;
class PositionMethod;

// How far a method reaches that has only so many positions, and what it does with longer sequences.
struct LengthLimit {
  int64_t positions = 0;   // longest sequence that is taken as it is
  int64_t configured = 0;  // positions in the configuration; more than `positions` where not all were trained
  std::string key;         // that sets the number of positions
  std::string beyond_key;  // that sets the rule for longer sequences
  std::string rule;        // name of the rule in effect; empty: longer sequences are refused
  // Rules to choose from: name and meaning.
  std::vector<std::pair<std::string, std::string>> rules;

  bool refuses(int64_t length) const { return rule.empty() && length > positions; }
  std::string rule_names() const;     // "clamp, tile or interpolate"
  std::string rule_meanings() const;  // "clamp (the last row), ..."
};

// The head dimensions that a method can compute with: multiples of `multiple` from it to `most`.
struct HeadDims {
  int64_t multiple = 8;
  int64_t most = 128;
};

// One method as configured.
class PositionSettings {
 public:
  virtual ~PositionSettings() = default;

  // The value of model.position.method, and the name of the method's group of keys.
  virtual const char* name() const = 0;

  // Binds the method's keys; b stands at `model.position`. shared: the keys that several methods read,
  // already bound as far as their method comes earlier in the list. Default: the method has no keys.
  virtual void bind(ConfigBinder& b, PositionConfig& shared);

  virtual std::unique_ptr<PositionSettings> clone() const = 0;
  // other: settings of the same method.
  virtual bool equals(const PositionSettings& other) const;

  // model.position.active() is this. Its parameters are named below "position.".
  virtual std::shared_ptr<PositionMethod> make(const ModelConfig& model) const = 0;

  virtual HeadDims head_dims() const { return {}; }
  // Trainable parameters of the method's own in such a model.
  virtual int64_t parameters(const ModelConfig& model) const;
  // Whether the method has decays: parameters named raw_decay, with a learning rate of their own.
  virtual bool has_decay() const { return false; }

  // Absent: sequences of any length are taken.
  virtual std::optional<LengthLimit> limit() const { return std::nullopt; }
  // Training saw no sequence of more than `tokens`: positions beyond are as they started, and not used.
  virtual void set_trained_length(int64_t tokens);
  // Chooses one of limit()->rules.
  virtual void set_beyond(const std::string& rule);
};

// Settings with keys: `Keys` has bind(ConfigBinder&) and ==.
template <typename Keys>
class KeyedSettings : public PositionSettings {
 public:
  Keys keys;
  void bind(ConfigBinder& b, PositionConfig& /*shared*/) override { b.group(name(), keys); }
  bool equals(const PositionSettings& other) const override {
    return keys == dynamic_cast<const KeyedSettings&>(other).keys;
  }
};

// Adds clone() to the settings class `Derived`, which derives from ClonedSettings<Derived, Base>.
template <typename Derived, typename Base = PositionSettings>
class ClonedSettings : public Base {
 public:
  std::unique_ptr<PositionSettings> clone() const override {
    return std::make_unique<Derived>(static_cast<const Derived&>(*this));
  }
};

struct PositionConfig {
  std::string method = "rse";
  double rotary_base = 10000.0;  // 0: no rotation, where the method allows that

  PositionConfig();
  PositionConfig(const PositionConfig& other);
  PositionConfig(PositionConfig&&) = default;
  PositionConfig& operator=(const PositionConfig& other);
  PositionConfig& operator=(PositionConfig&&) = default;
  ~PositionConfig() = default;

  // The settings of `method`.
  PositionSettings& active();
  const PositionSettings& active() const;

  // The keys of the one method whose settings are KeyedSettings<Keys>.
  template <typename Keys>
  Keys& keys() {
    return const_cast<Keys&>(std::as_const(*this).keys<Keys>());
  }
  template <typename Keys>
  const Keys& keys() const {
    for (const auto& settings : methods_) {
      if (const auto* keyed = dynamic_cast<const KeyedSettings<Keys>*>(settings.get())) return keyed->keys;
    }
    RSE_ASSERT(false, "no position method has these keys");
  }

  // The names of all methods, and of the rules by which any of them goes beyond its positions.
  std::vector<std::string> method_names() const;
  std::vector<std::string> beyond_rules() const;

  bool operator==(const PositionConfig& other) const;
  void bind(ConfigBinder& b);

 private:
  std::vector<std::unique_ptr<PositionSettings>> methods_;  // every method, in the list's order
};

}  // namespace rse
