// Tests what may be done to each key of a run: on resume, by an arm, and between combined evaluations.
#include <functional>
#include <set>

#include "run/config_change.h"
#include "run/run_config.h"
#include "tests/support.h"

namespace rse {
namespace {

// Lists every key that a run binds, found in what the program itself dumps.
std::vector<std::string> bound_keys() {
  std::vector<std::string> keys;
  const std::function<void(const ConfigNode&, const std::string&)> walk = [&](const ConfigNode& node,
                                                                              const std::string& path) {
    if (node.kind != ConfigNode::Kind::kMap) keys.push_back(path);
    for (const auto& [key, value] : node.entries) walk(value, path.empty() ? key : path + "." + key);
  };
  walk(dump_bound(RunSettings{}), "");
  return keys;
}

const std::set<std::string> kLogs = {"logging.every",   "logging.tensorboard",  "checkpoint.every",
                                     "checkpoint.keep", "checkpoint.keep_best", "output"};

std::set<std::string> with_logs(std::set<std::string> keys) {
  keys.insert(kLogs.begin(), kLogs.end());
  return keys;
}

std::set<std::string> keys_that(const std::function<bool(const KeyRule&)>& allow) {
  std::set<std::string> keys;
  for (const std::string& key : bound_keys()) {
    if (allow(run_key_rules().at(key))) keys.insert(key);
  }
  return keys;
}

TEST(KeyRules, AreThoseOfEveryBoundKey) {
  EXPECT_EQ(keys_that([](const KeyRule& rule) { return rule.resume_may_change; }),
            with_logs({"data.train", "data.valid", "train.steps", "train.decay_steps", "train.decay_shape",
                       "train.device", "train.threads", "train.recompute", "train.peak_tflops"}));
  EXPECT_EQ(keys_that([](const KeyRule& rule) { return rule.combined_may_differ; }),
            with_logs({"data.train", "data.valid", "train.seeds", "train.device", "train.threads",
                       "train.recompute", "train.peak_tflops"}));
  std::set<std::string> of_arms = {"train.learning_rate", "train.decay_learning_rate"};
  for (const std::string& key : bound_keys()) {
    if (key.starts_with("model.")) of_arms.insert(key);
  }
  EXPECT_GT(of_arms.size(), 20u);
  EXPECT_EQ(keys_that([](const KeyRule& rule) { return rule.arm_may_override; }), of_arms);
}

TEST(KeyRules, PricesAndConditionsBelongToFewKeys) {
  for (const std::string& key : bound_keys()) {
    const KeyRule rule = run_key_rules().at(key);
    EXPECT_EQ(std::string(rule.resume_price).find("last bits") != std::string::npos,
              key == "train.device" || key == "train.threads")
        << key;
    EXPECT_EQ(std::string(rule.resume_price).find("schedule") != std::string::npos,
              key == "train.steps" || key == "train.decay_steps" || key == "train.decay_shape")
        << key;
    EXPECT_EQ(*rule.condition != '\0', key == "data.train" || key == "data.valid") << key;
  }
}

TEST(KeyRules, AreSaidInMessages) {
  EXPECT_EQ(run_key_rules().list(&KeyRule::arm_may_override),
            "model.*, train.learning_rate and train.decay_learning_rate");
  EXPECT_EQ(run_key_rules().list(&KeyRule::resume_may_change),
            "data.train (to the same tokens elsewhere), data.valid (to the same tokens elsewhere), "
            "train.steps, train.decay_steps, train.decay_shape, train.device, train.threads, "
            "train.recompute, train.peak_tflops, logging.*, checkpoint.* and output");
}

TEST(KeyRules, OfAnArmsKeyIsThatOfTheKeyItOverrides) {
  const auto config = [](const std::string& rate) {
    return make_run_config(parse_config("arms: {a.b: {train: {learning_rate: " + rate + "}}}", "run.yaml"),
                           "run.yaml");
  };
  const std::vector<ConfigChange> changes = config_changes(config("0.1"), config("0.2"));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].key, "arms.a.b.train.learning_rate");
  EXPECT_TRUE(changes[0].rule.arm_may_override);
  EXPECT_FALSE(changes[0].rule.resume_may_change);
}

}  // namespace
}  // namespace rse
