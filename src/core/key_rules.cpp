#include "core/key_rules.h"

#include <fmt/format.h>

namespace rse {
namespace {

bool covers(std::string_view pattern, std::string_view key) {
  if (!pattern.ends_with(".*")) return pattern == key;
  return key.starts_with(pattern.substr(0, pattern.size() - 1));  // "model." and something after it
}

}  // namespace

void KeyRules::add(std::string pattern, const KeyRule& rule) {
  rules_.emplace_back(std::move(pattern), rule);
}

KeyRule KeyRules::at(std::string_view key) const {
  KeyRule effective;
  for (const auto& [pattern, rule] : rules_) {
    if (!covers(pattern, key)) continue;
    effective.resume_may_change |= rule.resume_may_change;
    effective.combined_may_differ |= rule.combined_may_differ;
    effective.arm_may_override |= rule.arm_may_override;
    if (*rule.resume_price != '\0') effective.resume_price = rule.resume_price;
    if (*rule.condition != '\0') effective.condition = rule.condition;
  }
  return effective;
}

std::string KeyRules::list(bool KeyRule::*permission) const {
  std::vector<std::string> names;
  for (const auto& [pattern, rule] : rules_) {
    if (!(rule.*permission)) continue;
    names.push_back(*rule.condition == '\0' ? pattern : fmt::format("{} ({})", pattern, rule.condition));
  }
  if (names.size() < 2) return names.empty() ? "nothing" : names.front();
  const std::string last = std::move(names.back());
  names.pop_back();
  return fmt::format("{} and {}", fmt::join(names, ", "), last);
}

}  // namespace rse
