// Tests configuration files with errors: rse-train must name the file, the line and what was expected.
#include <sys/stat.h>

#include "tests/apps/bad_input.h"

namespace rse {
namespace {

// The text of a configuration, and what the error must name.
struct BadText {
  std::string name;
  std::string text;
  std::vector<std::string> parts;
};
void PrintTo(const BadText& bad, std::ostream* out) { *out << bad.name; }

std::string repeated(const std::string& text, size_t times) {
  std::string all;
  all.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

std::string staircase(int steps) {
  std::string text;
  for (int i = 0; i < steps; ++i) text += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  return text;
}

std::string many_keys(int keys) {
  std::string text;
  for (int i = 0; i < keys; ++i) text += fmt::format("k{}: 1\n", i);
  return text;
}

// Returns random bytes.
std::string noise(int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(random_bits(5, static_cast<uint64_t>(i))[0]);
  return text;
}

using std::string_literals::operator""s;

const BadText kTexts[] = {
    {"Empty", "", {"data.train: not set"}},
    {"OnlyComments", "# nothing\n\n", {"data.train: not set"}},
    {"DuplicateKeys", "model: {layers: 1}\nmodel: {layers: 2}\n", {"c.yaml:2", "'model'", "c.yaml:1"}},
    {"DuplicateKeysInside", "train:\n  steps: 1\n  steps: 2\n", {"c.yaml:3", "'steps'", "c.yaml:2"}},
    {"Tabs", "model:\n\tlayers: 1\n", {"c.yaml:2", "not valid YAML"}},
    {"Aliases", "model:\n  layers: 1\ntrain:\n  steps: *x\n", {"c.yaml:4"}},
    {"Anchors", "model:\n  layers: &x 1\n", {"c.yaml:2", "anchors are not supported"}},
    {"AnchorsOfMaps", "model: &x\n  layers: 1\n", {"c.yaml:1", "anchors are not supported"}},
    {"MergeKeys", "train: {steps: 1}\n<<: {a: 1}\n", {"c.yaml:2", "'<<'"}},
    {"Tags", "model:\n  layers: !!int 1\n", {"c.yaml:2", "tags are not supported"}},
    {"TagsOfMaps", "model: !thing {layers: 1}\n", {"c.yaml:1", "tags are not supported", "!thing"}},
    {"TwoDocuments",
     "train: {steps: 1}\n---\ntrain: {steps: 2}\n",
     {"c.yaml", "more than one YAML document"}},
    {"AListAtTheTop", "- 1\n- 2\n", {"c.yaml:1", "expected a map"}},
    {"AWordAtTheTop", "train\n", {"c.yaml:1", "expected a map"}},
    {"AnUnclosedQuote", "output: \"runs/x\n", {"c.yaml"}},
    {"AnUnclosedQuoteInTheMiddle", "output: 'runs/x\ntrain: {steps: 1}\n", {"c.yaml"}},
    {"AnUnclosedList", "train: {seeds: [1, 2\n", {"c.yaml"}},
    {"ANulByte", "train:\n  steps: 1\0\n"s, {"c.yaml:2: byte 0x00: expected YAML in UTF-8"}},
    {"AnEscapedNulByte", "train:\n  steps: 1\ndata: {train: \"a\\0b\"}\n", {"c.yaml:3", "NUL byte"}},
    {"HalfASurrogatePair", "output: \"\\ud800\"\n", {"c.yaml:1: "}},
    {"ByteOrderMark", "\xEF\xBB\xBFmodel: {layers: 0}\n", {"c.yaml:1: model.layers: '0'"}},
    {"CarriageReturns", "model:\r\n  width: 16\r\n  layers: 0\r\n", {"c.yaml:3: model.layers: '0'"}},
    {"Utf16", "\xFF\xFEm\0o\0d\0e\0l\0"s, {"c.yaml"}},
    {"NotUtf8", "model: {layers: \"\xFF\xFE\"}\n", {"c.yaml:1: byte 0xFF: expected YAML in UTF-8"}},
    {"Noise", noise(100000), {"c.yaml"}},
    {"AVeryLongValue",
     "model:\n  layers: " + std::string(900000, '9') + "\n",
     {"c.yaml:2: model.layers: '999", "..."}},
    {"AVeryLongKey",
     "model:\n  ? " + std::string(900000, 'x') + "\n  : 1\n",
     {"c.yaml:2: a key of 900000 bytes: expected at most 128"}},
    {"ALineFeedInAKey", "model: {\"la\\nyers\": 1}\n", {"c.yaml:1: unknown key 'model.la\\x0Ayers'"}},
    {"ALineFeedInAValue", "model: {layers: \"1\\n2\"}\n", {"c.yaml:1: model.layers: '1\\x0A2'"}},
    {"TenMegabytesOfBrackets", std::string(10 << 20, '['), {"c.yaml", "10485760 bytes", "at most 1048576"}},
    {"AMegabyteOfBrackets", std::string(1 << 20, '['), {"c.yaml:1"}},
    {"AMegabyteOfBraces", std::string(1 << 20, '{'), {"c.yaml:1"}},
    {"AMegabyteOfDashes", repeated("- ", 1 << 19), {"c.yaml:1: nested deeper than 32 levels"}},
    {"AMegabyteOfQuestionMarks", repeated("? ", 1 << 19), {"c.yaml:1"}},
    {"AStaircase", staircase(1000), {"c.yaml:33: nested deeper than 32 levels"}},
    {"AMegabyteOfKeys", many_keys(90000), {"c.yaml:10001: over 10000 values"}},
    {"ATildeInAPath", "output: ~/runs/x\n", {"c.yaml:1: output: '~/runs/x': '~' is not expanded here"}},
    {"AVariableInAPath",
     "data:\n  train: ${RSE_UNSET}/train.bin\n",
     {"c.yaml:2: data.train: '${RSE_UNSET}/train.bin': '${RSE_UNSET}' is not expanded here"}},
    {"AnEmptyPath", "output: \"\"\n", {"c.yaml:1: output: '': expected a path"}},
    {"NoSpaceAfterAColon",
     "train:\n  steps:6\n",
     {"c.yaml:2: train: 'steps:6': expected a map of keys; found '6' after ':', expected a space"}},
    {"NoSpaceAfterAColonInBraces",
     "train: {steps:6}\n",
     {"c.yaml:1: unknown key 'train.steps:6'", "found '6' after ':', expected a space"}},
    {"AnUnknownKey",
     "model:\n  layer: 1\n",
     {"c.yaml:2: unknown key 'model.layer'", "did you mean 'layers'?"}},
    {"AnUnknownSection", "modle:\n  layers: 1\n", {"unknown key 'modle'", "did you mean 'model'?"}},
    {"ASectionThatIsAWord", "model: big\n", {"c.yaml:1: model: 'big': expected a map of keys"}},
    {"AValueThatIsAMap",
     "train: {steps: {a: 1}}\n",
     {"c.yaml:1: train.steps: a map: expected a single value"}},
    {"ANumberThatIsMissing", "train:\n  steps:\n", {"c.yaml:2: train.steps: nothing"}},
    {"ArmsThatAreAList", "arms: [rope]\n", {"c.yaml:1: arms: expected a map"}},
    {"NoArm", "arms: {}\n", {"c.yaml:1: arms: expected a map", "at least one arm"}},
    {"AnArmNamedLikeAPath", "arms:\n  ../x: {model: {layers: 1}}\n", {"c.yaml:2: arms: name '../x'"}},
    {"AnArmWithItsOwnData", "arms:\n  a:\n    data: {seq_len: 8}\n", {"c.yaml:3: arms.a.data.seq_len"}},
};

class BadConfig : public BadInput, public testing::WithParamInterface<BadText> {};

TEST_P(BadConfig, EndsInOneLine) {
  write("c.yaml", GetParam().text);
  expect_train_error("--config c.yaml", GetParam().parts);
}

INSTANTIATE_TEST_SUITE_P(Yaml, BadConfig, testing::ValuesIn(kTexts),
                         [](const auto& info) { return info.param.name; });

TEST_F(BadInput, AConfigurationThatIsAFolder) {
  expect_train_error("--config .", {"cannot read .: Is a directory"});
}

TEST_F(BadInput, AConfigurationThatIsADevice) {
  expect_train_error("--config /dev/zero", {"cannot read /dev/zero: a device: expected a file"});
}

TEST_F(BadInput, AConfigurationThatIsMissing) {
  expect_train_error("--config none.yaml", {"'none.yaml' was not found", "share/rse/configs/none.yaml"});
  expect_train_error("--config ''", {"--config"});
  expect_train_error("--config " + std::string(5000, 'a'), {"was not found"});
}

TEST_F(BadInput, AConfigurationThatIsALinkToItself) {
  std::filesystem::create_symlink("loop.yaml", folder_ / "loop.yaml");
  expect_train_error("--config loop.yaml", {"loop.yaml"});
}

TEST_F(BadInput, AConfigurationThatMayNotBeRead) {
  write("c.yaml", "");
  chmod((folder_ / "c.yaml").c_str(), 0);
  if (std::ifstream(folder_ / "c.yaml").is_open()) GTEST_SKIP() << "this user can read every file";
  expect_train_error("--config c.yaml", {"cannot open c.yaml: Permission denied"});
}

TEST_F(BadInput, ATokenFileAsConfiguration) {
  write_run();
  expect_train_error("--config train.bin", {"train.bin:1: byte 0x00: expected YAML in UTF-8"});
}

}  // namespace
}  // namespace rse
