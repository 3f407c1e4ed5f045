// Tests what is said of a YAML file with a slip: the line, the character that was found, and what was
// expected.
#include "core/config_tree.h"
#include "tests/support.h"

namespace rse {
namespace {

struct Slip {
  std::string name;
  std::string text;
  std::string message;
};
void PrintTo(const Slip& slip, std::ostream* out) { *out << slip.name; }

const Slip kSlips[] = {
    {"ATabBeforeAKey", "model:\n\tlayers: 1\n", "f.yaml:2: not valid YAML: found a tab in the indentation"},
    {"ATabBeforeALaterKey", "model:\n  layers: 1\n\twidth: 2\ntrain: {}\n",
     "f.yaml:3: not valid YAML: found a tab in the indentation: expected spaces"},
    {"ATabAndCarriageReturns", "train:\r\n\tsteps: 1\r\n", "f.yaml:2: not valid YAML: found a tab"},
    {"NoSpaceAfterTheColonOfTheFirstKey", "train:\n  steps:6\n  batch_size: 4\n",
     "f.yaml:2: not valid YAML: found '6' after the ':' of 'steps:6': expected a space"},
    {"NoSpaceAfterTheColonOfTheLastKey", "train:\n  batch_size: 4\n  steps:6\n",
     "f.yaml:3: not valid YAML: found '6' after the ':' of 'steps:6': expected a space"},
    {"NoSpaceAfterTheColonOfAKeyBetween", "train:\n  batch_size: 4\n  steps:6\n  seeds: [1]\n",
     "f.yaml:3: not valid YAML: found '6' after the ':'"},
    {"NoSpaceAfterTheColonOfASection", "output:runs/x\nmodel: {layers: 1}\n",
     "f.yaml:1: not valid YAML: found 'r' after the ':' of 'output:runs/x': expected a space"},
    {"NoSpaceAfterTheOnlyColon", "steps:6\n", "f.yaml:1: 'steps:6': expected a map of keys at the top"},
    {"NoColon", "train:\n  steps 6\n  batch_size: 4\n",
     "f.yaml:2: not valid YAML: found 'steps 6': expected 'key: value'"},
    {"ASecondColon", "train: steps: 6\n", "f.yaml:1: not valid YAML: found a second ':' in column 13"},
    {"AnOpenQuote", "output: 'runs/x\ntrain: {steps: 1}\n",
     "f.yaml:1: not valid YAML: found an opening quote ' in column 9: expected ' to close it"},
    {"AnOpenQuoteThatALaterOneCloses", "output: \"runs/x\ntrain: {steps: 1}\nmodel: {a: \"b\"}\n",
     "f.yaml:1: not valid YAML: found an opening quote \" in column 9"},
    {"AnOpenQuoteAtTheEnd", "model: {}\noutput: \"x", "f.yaml:2: not valid YAML: found an opening quote \""},
    {"AQuoteInsideQuotes", "output: 'it's'\n",
     "f.yaml:1: not valid YAML: found 's' in column 13, after a closing quote: expected the end of the line"},
    {"AnOpenBracketBeforeAKey", "train:\n  seeds: [1, 2\n  steps: 6\n",
     "f.yaml:2: not valid YAML: found an opening bracket [ in column 10: expected ] to close it"},
    {"AnOpenBraceBeforeASection", "train: {steps: 6\nmodel: {layers: 1}\n",
     "f.yaml:1: not valid YAML: found an opening bracket { in column 8: expected } to close it"},
    {"AnOpenBracketAtTheEnd", "model: {}\ntrain: {seeds: [1, 2\n",
     "f.yaml:2: not valid YAML: found an opening bracket [ in column 16"},
    {"AnotherBracket", "train: {seeds: [1, 2}\nmodel: {}\n",
     "f.yaml:1: not valid YAML: found '}' in column 21: expected ']', which closes the '[' in line 1, column "
     "16"},
    {"ABracketTooMany", "train:\n  seeds: [1, 2]]\n",
     "f.yaml:2: not valid YAML: found ']' in column 16, after a closing bracket: expected the end of the "
     "line"},
    {"NoCommaInBraces", "train: {steps: 6 batch_size: 4}\n",
     "f.yaml:1: not valid YAML: found a second ':' in column 28: expected ',' before its key"},
    {"TooDeep", "train:\n  steps: 6\n   batch_size: 4\n",
     "f.yaml:3: not valid YAML: found an indentation of 3: expected 2, as in line 2"},
    {"NotDeepEnough", "train:\n    steps: 6\n  batch_size: 4\n",
     "f.yaml:3: not valid YAML: found an indentation of 2: expected 0 or 4"},
    {"TheFirstLineTooDeep", " train:\n  steps: 6\nmodel:\n  layers: 1\n",
     "f.yaml:3: not valid YAML: found an indentation of 0: expected 1 or 2"},
    {"BetweenTwoDepths", "model:\n  position:\n    method: rse\n   heads: 3\n",
     "f.yaml:4: not valid YAML: found an indentation of 3: expected 0 or 2 or 4"},
    {"AValueThatGoesOn", "output: runs/x\n  more\nmodel: {}\n",
     "f.yaml:2: not valid YAML: found an indentation of 2"},
    {"AReservedCharacter", "output: @x\n",
     "f.yaml:1: not valid YAML: found '@' in column 9: expected quotes"},
    {"APercentSign", "model: {}\noutput: %x\n", "f.yaml:2: not valid YAML: found '%' in column 9"},
    {"AKeyTwice", "train:\n  steps: 1\n  seeds: [1]\n  steps: 2\n",
     "f.yaml:4: key 'steps' is written twice (first at f.yaml:2)"},
    {"ABlockTwice", "a: 1\nmodel:\n\n  layers: 1\nmodel:\n  layers: 2\n",
     "f.yaml:5: key 'model' is written twice (first at f.yaml:2)"},
    {"TextOfSeveralLines", "a: 1\noutput: |\n  x: y\n\n   z:1\nb: 2\n",
     "f.yaml:2: found '|': expected a value in the same line, or in quotes"},
    {"FoldedText", "model:\n  a: >-\n    x\n", "f.yaml:2: found '>': expected a value in the same line"},
    {"ANoBreakSpace",
     "batch_size:\xC2\xA0"
     "4\n",
     "f.yaml:1: 'batch_size:\xC2\xA0"
     "4': expected a map of keys at the top, such as 'train: {steps: 6}'; found a no-break space (U+00A0) "
     "after ':'"},
    {"TwoCommas", "train: {steps: 6,, seeds: [1]}\n", "f.yaml:1: found no key before ','"},
    {"AColumnAfterUmlauts", "output: 'M\xC3\xBCn'x'\n", "f.yaml:1: not valid YAML: found 'x' in column 14"},
};

class YamlSlip : public testing::TestWithParam<Slip> {};

TEST_P(YamlSlip, IsNamedWithItsLine) {
  EXPECT_THAT([] { parse_config(GetParam().text, "f.yaml"); }, ThrowsUserError(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(Yaml, YamlSlip, testing::ValuesIn(kSlips),
                         [](const auto& info) { return info.param.name; });

// Each of these looks like one of the slips above.
TEST(YamlSlips, AreNotSeenInGoodYaml) {
  for (const char* text :
       {"model:\n  layers:\t1\n", "model: {layers: 1,\n\twidth: 2}\n", "train:\n- 1\n- 2\n",
        "a: \"x\n  y\"\n", "a: http://b:80/c\n", "a: it's\n", "a: b#c\n", "a: [1,\n  2,\n  3]\nb: 1\n",
        "train: {\n  steps: 6,\n}\n", "a: \"b: c\"\n", "a:\n\n  # note\n  b: 1\n\nc: 2\n", "'a b': 1\n",
        "---\na: 1\n", "a: -1\n", "a: 'it''s'\n"}) {
    EXPECT_NO_THROW(parse_config(text, "f.yaml")) << text;
  }
}

}  // namespace
}  // namespace rse
