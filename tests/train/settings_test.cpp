// Tests that every key that acts in training changes what it names (tests/train/settings_checks.h).
#include "tests/train/settings_checks.h"

namespace rse {
namespace {

// The keys that these sections bind, found in what the program itself dumps.
std::vector<std::string> bound_keys() {
  std::vector<std::string> keys;
  const std::function<void(const ConfigNode&, const std::string&)> walk = [&](const ConfigNode& node,
                                                                              const std::string& path) {
    if (node.kind != ConfigNode::Kind::kMap) keys.push_back(path);
    for (const auto& [key, value] : node.entries) walk(value, path + "." + key);
  };
  const ConfigNode all = dump_bound(RunSettings{});
  for (const char* section : {"train", "data", "validation", "logging", "checkpoint"}) {
    walk(*all.find(section), section);
  }
  return keys;
}

SettingChecks all_checks() {
  SettingChecks all;
  for (const SettingChecks& some : {optimizer_checks(), run_checks(), data_checks(), writing_checks()}) {
    all.insert(some.begin(), some.end());
  }
  return all;
}

class Setting : public testing::TestWithParam<std::string> {};

TEST_P(Setting, ChangesWhatItNames) {
  const SettingChecks checks = all_checks();
  ASSERT_TRUE(checks.contains(GetParam())) << GetParam() << " has no check of what it changes";
  checks.at(GetParam())();
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Run, Setting, testing::ValuesIn(bound_keys()), test_name);

TEST(Settings, EveryCheckIsOfAKeyThatIsBound) {
  const std::vector<std::string> keys = bound_keys();
  EXPECT_GE(keys.size(), 38u);
  for (const auto& [key, check] : all_checks()) EXPECT_THAT(keys, testing::Contains(key));
}

}  // namespace
}  // namespace rse
