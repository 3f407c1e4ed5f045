// Gives every numeric key of a run, found by walking what the program itself dumps, every kind of wrong
// value. The result is either an error that names the key, or a configuration that can be dumped and read
// again.
#include <charconv>
#include <functional>

#include "tests/support.h"
#include "tests/train/toy_run.h"

namespace rse {
namespace {

const char* const kValues[] = {"-1",
                               "0",
                               "1e30",
                               "1e400",
                               "99999999999999999999",
                               "-99999999999999999999",
                               "nan",
                               "inf",
                               "-inf",
                               "abc",
                               "",
                               "0x10",
                               "1 2",
                               "[]",
                               "[nan]",
                               "{a: 1}",
                               "~"};

bool is_number(const std::string& text) {
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && stop == text.data() + text.size();
}

// Lists the leaves that hold a number or a list of numbers, such as "model.width".
std::vector<std::string> numeric_keys() {
  const RunConfig defaults = make_run_config(parse_config("", "defaults"), "defaults");
  std::vector<std::string> keys;
  const std::function<void(const ConfigNode&, const std::string&)> walk = [&](const ConfigNode& node,
                                                                              const std::string& path) {
    const ConfigNode& value = node.items.empty() ? node : node.items.front();
    if (value.kind == ConfigNode::Kind::kScalar && is_number(value.scalar)) keys.push_back(path);
    for (const auto& [key, inner] : node.entries) walk(inner, path.empty() ? key : path + "." + key);
  };
  walk(parse_config(defaults.dump(), "dump"), "");
  return keys;
}

// A UserError must name `key`. Any other exception fails the test.
void expect_refused_or_dumped(const std::string& assignment, const std::string& key,
                              const std::string& base) {
  try {
    ConfigNode tree = parse_config(base, "run.yaml");
    set_config_value(tree, assignment);
    const RunConfig config = make_run_config(std::move(tree), "run.yaml");
    const std::string dump = config.dump();
    EXPECT_EQ(make_run_config(parse_config(dump, "dump"), "run.yaml").dump(), dump) << assignment;
  } catch (const UserError& error) {
    const std::string message = error.what();
    EXPECT_THAT(message, testing::HasSubstr("--set " + assignment)) << assignment;
    // A check of two keys may name the other key: the width may be no multiple of the heads.
    const std::string last = key.substr(key.rfind('.') + 1);
    EXPECT_THAT(message, testing::HasSubstr(last)) << assignment;
  } catch (const std::exception& error) {
    ADD_FAILURE() << assignment << ": " << error.what();
  }
}

class NumericKey : public testing::TestWithParam<std::string> {};

TEST_P(NumericKey, IsRefusedOrDumped) {
  for (const char* value : kValues) {
    expect_refused_or_dumped(GetParam() + "=" + value, GetParam(), "");
    expect_refused_or_dumped(GetParam() + "=[1, " + value + "]", GetParam(), "");
  }
}

TEST_P(NumericKey, NeverTakesWhatIsNoNumber) {
  for (const char* value : {"nan", "inf", "-inf", "abc", "''", "1e400", "[nan]", "[inf, 0]", "{a: 1}"}) {
    ConfigNode tree = parse_config("", "run.yaml");
    set_config_value(tree, GetParam() + "=" + value);
    EXPECT_THAT([&] { make_run_config(tree, "run.yaml"); }, ThrowsUserError(GetParam() + ": ")) << value;
  }
}

class NumericKeyOfAnArm : public NumericKey {};

TEST_P(NumericKeyOfAnArm, IsRefusedOrDumped) {
  for (const char* value : kValues) {
    expect_refused_or_dumped("arms.a." + GetParam() + "=" + value, GetParam(), "arms: {a: {}, b: {}}\n");
  }
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

// The keys that an arm may override.
std::vector<std::string> numeric_keys_of_arms() {
  std::vector<std::string> keys;
  for (const std::string& key : numeric_keys()) {
    if (key.starts_with("model.") || key.ends_with("learning_rate")) keys.push_back(key);
  }
  return keys;
}

INSTANTIATE_TEST_SUITE_P(Run, NumericKey, testing::ValuesIn(numeric_keys()), test_name);
INSTANTIATE_TEST_SUITE_P(Run, NumericKeyOfAnArm, testing::ValuesIn(numeric_keys_of_arms()), test_name);

TEST(NumericKeys, AreFoundInEverySection) {
  const std::vector<std::string> keys = numeric_keys();
  EXPECT_GE(keys.size(), 35u);
  EXPECT_THAT(keys, testing::IsSupersetOf({"model.width", "model.position.rse.decay.value", "data.seq_len",
                                           "data.mask.probability", "train.seeds", "train.betas",
                                           "validation.batch_tokens", "logging.every", "checkpoint.keep"}));
}

}  // namespace
}  // namespace rse
