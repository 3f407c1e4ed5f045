#include "nn/position/position_config.h"

#include <algorithm>

#include "core/check.h"

// Every position method, in the order in which keys are bound and names are listed. X(name) stands for
// `name`_position(), which the method's file defines.
#define RSE_POSITION_METHODS(X) \
  X(learned)                    \
  X(none)                       \
  X(rope)                       \
  X(rope_decay)                 \
  X(rse)

namespace rse {

#define RSE_DECLARE(name) std::unique_ptr<PositionSettings> name##_position();
RSE_POSITION_METHODS(RSE_DECLARE)
#undef RSE_DECLARE

namespace {

// "a, b or c"
std::string any_of(const std::vector<std::string>& words) {
  const std::vector<std::string> first(words.begin(), words.end() - 1);
  return fmt::format("{} or {}", fmt::join(first, ", "), words.back());
}

}  // namespace

std::string LengthLimit::rule_names() const {
  std::vector<std::string> words;
  for (const auto& [name, meaning] : rules) words.push_back(name);
  return any_of(words);
}

std::string LengthLimit::rule_meanings() const {
  std::vector<std::string> words;
  for (const auto& [name, meaning] : rules) words.push_back(fmt::format("{} ({})", name, meaning));
  return any_of(words);
}

void PositionSettings::bind(ConfigBinder& /*b*/, PositionConfig& /*shared*/) {}

bool PositionSettings::equals(const PositionSettings& /*other*/) const { return true; }

int64_t PositionSettings::parameters(const ModelConfig& /*model*/) const { return 0; }

void PositionSettings::set_trained_length(int64_t /*tokens*/) {}

void PositionSettings::set_beyond(const std::string& rule) {
  RSE_ASSERT(false, "method '{}' has no rule '{}' beyond its positions", name(), rule);
}

PositionConfig::PositionConfig() {
#define RSE_MAKE(name) methods_.push_back(name##_position());
  RSE_POSITION_METHODS(RSE_MAKE)
#undef RSE_MAKE
}

PositionConfig::PositionConfig(const PositionConfig& other)
    : method(other.method), rotary_base(other.rotary_base) {
  for (const auto& settings : other.methods_) methods_.push_back(settings->clone());
}

PositionConfig& PositionConfig::operator=(const PositionConfig& other) {
  return *this = PositionConfig(other);
}

PositionSettings& PositionConfig::active() {
  return const_cast<PositionSettings&>(std::as_const(*this).active());
}

const PositionSettings& PositionConfig::active() const {
  for (const auto& settings : methods_) {
    if (method == settings->name()) return *settings;
  }
  RSE_ASSERT(false, "no position method '{}'", method);
}

std::vector<std::string> PositionConfig::method_names() const {
  std::vector<std::string> names;
  for (const auto& settings : methods_) names.push_back(settings->name());
  return names;
}

std::vector<std::string> PositionConfig::beyond_rules() const {
  std::vector<std::string> names;
  for (const auto& settings : methods_) {
    const auto limit = settings->limit();
    if (!limit) continue;
    for (const auto& [name, meaning] : limit->rules) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

bool PositionConfig::operator==(const PositionConfig& other) const {
  return method == other.method && rotary_base == other.rotary_base &&
         std::equal(methods_.begin(), methods_.end(), other.methods_.begin(), other.methods_.end(),
                    [](const auto& a, const auto& b) { return a->equals(*b); });
}

void PositionConfig::bind(ConfigBinder& b) {
  std::vector<std::pair<std::string, std::string>> names;
  for (const std::string& name : method_names()) names.emplace_back(name, name);
  b.choice("method", method, names);
  for (const auto& settings : methods_) settings->bind(b, *this);
}

}  // namespace rse
