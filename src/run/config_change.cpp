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

using Leaves = std::vector<std::pair<std::string, std::string>>;  // key, value

void collect_leaves(const ConfigNode& node, const std::string& path, Leaves& out) {
  if (node.kind != ConfigNode::Kind::kMap) {
    out.emplace_back(path, value_text(node));
    return;
  }
  for (const auto& [key, value] : node.entries) {
    collect_leaves(value, path.empty() ? key : path + "." + key, out);
  }
}

// The run's keys in effect: the base settings, the arms' names, and each arm's own.
Leaves leaves_of(const RunConfig& config) {
  Leaves leaves;
  collect_leaves(dump_bound(config.base), "", leaves);
  std::vector<std::string> names;
  for (const ArmConfig& arm : config.arms) names.push_back(arm.name);
  leaves.emplace_back("arms", fmt::format("{}", fmt::join(names, ", ")));
  for (const ArmConfig& arm : config.arms) {
    const std::string path = "arms." + arm.name;
    collect_leaves(dump_bound(arm.model), path + ".model", leaves);
    leaves.emplace_back(path + ".train.learning_rate", fmt::format("{}", arm.learning_rate));
    leaves.emplace_back(path + ".train.decay_learning_rate", fmt::format("{}", arm.decay_learning_rate));
  }
  return leaves;
}

bool changes_nothing_trained(const std::string& key) {
  return key.starts_with("logging.") || key.starts_with("checkpoint.") || key == "output" ||
         key == "train.peak_tflops" || key == "data.train" ||
         key == "data.valid";  // their content is compared
}

// What to warn of, for a key that may change at a price; "" for the others.
std::string price_of(const std::string& key) {
  if (key == "train.steps") return "the schedule is a function of it, so learning rates differ from here on";
  if (key == "train.device" || key == "train.threads") return "results may differ in the last bits";
  return "";
}

}  // namespace

std::vector<ConfigChange> config_changes(const RunConfig& before, const RunConfig& after) {
  std::map<std::string, std::string> old;
  for (auto& [key, value] : leaves_of(before)) old[key] = value;
  std::vector<ConfigChange> changes;
  for (const auto& [key, value] : leaves_of(after)) {
    const auto found = old.find(key);
    const std::string old_value = found == old.end() ? "(not set)" : found->second;
    if (old_value != value) changes.push_back({key, old_value, value});
  }
  return changes;  // a key that only `before` has belongs to an arm, and "arms" differs then
}

std::vector<std::string> check_config_changes(const RunConfig& before, const RunConfig& after) {
  std::vector<std::string> warnings;
  for (const auto& [key, old_value, new_value] : config_changes(before, after)) {
    if (changes_nothing_trained(key)) continue;
    const std::string price = price_of(key);
    if (price.empty()) {
      throw_user_error(
          "{}: {}: '{}', but the run was trained with '{}' ({}): a resumed run may change train.steps, "
          "train.device, train.threads, train.peak_tflops, data.train and data.valid (to the same tokens "
          "elsewhere), logging.*, checkpoint.* and output only",
          after.source.string(), key, new_value, old_value, before.source.string());
    }
    warnings.push_back(fmt::format("{} changed from '{}' to '{}': {}", key, old_value, new_value, price));
  }
  return warnings;
}

}  // namespace rse
