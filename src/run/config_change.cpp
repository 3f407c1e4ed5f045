#include "run/config_change.h"

#include <map>

#include "core/check.h"

namespace rse {
namespace {

std::string value_text(const ConfigNode& node) {
  if (node.kind != ConfigNode::Kind::kList) return node.scalar;
  std::vector<std::string> items;
  for (const ConfigNode& item : node.items) items.push_back(value_text(item));
  return fmt::format("[{}]", fmt::join(items, ", "));
}

struct Leaf {
  std::string key, value;
  KeyRule rule;
};

// Appends the leaves of `node`, the section `path`. arm: "arms.NAME.", or empty for the base settings.
void collect_leaves(const ConfigNode& node, const std::string& arm, const std::string& path,
                    std::vector<Leaf>& out) {
  if (node.kind != ConfigNode::Kind::kMap) {
    out.push_back({arm + path, value_text(node), run_key_rules().at(path)});
    return;
  }
  for (const auto& [key, value] : node.entries) {
    collect_leaves(value, arm, path.empty() ? key : path + "." + key, out);
  }
}

// The run's keys in effect: the base settings, the arms' names, and each arm's own.
std::vector<Leaf> leaves_of(const RunConfig& config) {
  std::vector<Leaf> leaves;
  collect_leaves(dump_bound(config.base), "", "", leaves);
  std::vector<std::string> names;
  for (const ArmConfig& arm : config.arms) names.push_back(arm.name);
  leaves.push_back({"arms", fmt::format("{}", fmt::join(names, ", ")), run_key_rules().at("arms")});
  for (const ArmConfig& arm : config.arms) {
    const std::string prefix = "arms." + arm.name + ".";
    collect_leaves(dump_bound(arm.model), prefix, "model", leaves);
    for (const auto& [key, rate] : {std::pair("train.learning_rate", arm.learning_rate),
                                    std::pair("train.decay_learning_rate", arm.decay_learning_rate)}) {
      leaves.push_back({prefix + key, fmt::format("{}", rate), run_key_rules().at(key)});
    }
  }
  return leaves;
}

}  // namespace

std::vector<ConfigChange> config_changes(const RunConfig& before, const RunConfig& after) {
  std::map<std::string, std::string> old;
  for (const Leaf& leaf : leaves_of(before)) old[leaf.key] = leaf.value;
  std::vector<ConfigChange> changes;
  for (const Leaf& leaf : leaves_of(after)) {
    const auto found = old.find(leaf.key);
    const std::string old_value = found == old.end() ? "(not set)" : found->second;
    if (old_value != leaf.value) changes.push_back({leaf.key, old_value, leaf.value, leaf.rule});
  }
  return changes;  // a key that only `before` has belongs to an arm, and "arms" differs then
}

std::vector<std::string> check_config_changes(const RunConfig& before, const RunConfig& after) {
  std::vector<std::string> warnings;
  for (const ConfigChange& change : config_changes(before, after)) {
    if (!change.rule.resume_may_change) {
      throw_user_error(
          "{}: {}: '{}', but the run was trained with '{}' ({}): a resumed run may change {} only",
          after.source.string(), change.key, change.after, change.before, before.source.string(),
          run_key_rules().list(&KeyRule::resume_may_change));
    }
    const std::string price = change.rule.resume_price;
    if (price.empty()) continue;
    warnings.push_back(
        fmt::format("{} changed from '{}' to '{}': {}", change.key, change.before, change.after, price));
  }
  return warnings;
}

}  // namespace rse
