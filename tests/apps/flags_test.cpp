// Tests every flag of every program: values that are empty, missing, no number, out of range, or a path that
// a shell would have expanded. The list of flags is compared with what --help prints, so that a new flag is
// tested, too.
#include <regex>
#include <set>

#include "apps/parse_flags.h"
#include "tests/program.h"

namespace rse {
namespace {

enum class Takes { kNothing, kText, kPath, kWhole, kReal };

struct Flag {
  const char* command;  // of kCommands
  const char* name;
  Takes takes = Takes::kNothing;
  const char* below = nullptr;  // the nearest number that is too small
  const char* above = nullptr;  // and too large; null: the type's
};

std::string program_of(const std::string& command) {
  const std::string name = command.substr(0, command.find(' '));
  return name == "rse-data"    ? RSE_DATA_PROGRAM
         : name == "rse-train" ? RSE_TRAIN_PROGRAM
         : name == "rse-eval"  ? RSE_EVAL_PROGRAM
                               : RSE_BENCH_PROGRAM;
}
std::string subcommand_of(const std::string& command) {
  const size_t space = command.find(' ');
  return space == std::string::npos ? "" : command.substr(space + 1);
}

const char* const kCommands[] = {
    "rse-data",        "rse-data train-tokenizer",
    "rse-data encode", "rse-data prepare",
    "rse-data info",   "rse-train",
    "rse-eval",
#ifdef RSE_HAS_BENCH
    "rse-bench",       "rse-bench attention",
    "rse-bench step",
#endif
};

const char* const kTrainer = "rse-data train-tokenizer";
const char* const kBench = "rse-bench attention";
const char* const kStep = "rse-bench step";
const Flag kFlags[] = {
    {"rse-data", "--log-level", Takes::kText},
    {kTrainer, "--input", Takes::kPath},
    {kTrainer, "--output", Takes::kPath},
    {kTrainer, "--field", Takes::kText},
    {kTrainer, "--format", Takes::kText},
    {kTrainer, "--document-separator", Takes::kText},
    {kTrainer, "--vocab-size", Takes::kWhole, "299", "1048577"},
    {kTrainer, "--sample-bytes", Takes::kWhole, "1048575"},
    {kTrainer, "--character-coverage", Takes::kReal, "0", "1.0000001"},
    {kTrainer, "--seed", Takes::kWhole, "-1"},
    {"rse-data encode", "--input", Takes::kPath},
    {"rse-data encode", "--tokenizer", Takes::kPath},
    {"rse-data encode", "--output", Takes::kPath},
    {"rse-data encode", "--field", Takes::kText},
    {"rse-data encode", "--format", Takes::kText},
    {"rse-data encode", "--document-separator", Takes::kText},
    {"rse-data encode", "--threads", Takes::kWhole, "-1", "257"},
    {"rse-data encode", "--boundaries"},
    {"rse-data prepare", "--train", Takes::kPath},
    {"rse-data prepare", "--valid", Takes::kPath},
    {"rse-data prepare", "--test", Takes::kPath},
    {"rse-data prepare", "--output", Takes::kPath},
    {"rse-data prepare", "--field", Takes::kText},
    {"rse-data prepare", "--format", Takes::kText},
    {"rse-data prepare", "--document-separator", Takes::kText},
    {"rse-data prepare", "--vocab-size", Takes::kWhole, "299", "1048577"},
    {"rse-data prepare", "--sample-bytes", Takes::kWhole, "1048575"},
    {"rse-data prepare", "--character-coverage", Takes::kReal, "0", "1.0000001"},
    {"rse-data prepare", "--seed", Takes::kWhole, "-1"},
    {"rse-data prepare", "--threads", Takes::kWhole, "-1", "257"},
    {"rse-data prepare", "--boundaries"},
    {"rse-data info", "--verify"},
    {"rse-train", "--config", Takes::kPath},
    {"rse-train", "--set", Takes::kText},
    {"rse-train", "--output", Takes::kPath},
    {"rse-train", "--resume", Takes::kPath},
    {"rse-train", "--device", Takes::kText},
    {"rse-train", "--log-level", Takes::kText},
    {"rse-train", "--dump-config"},
    {"rse-train", "--dry-run"},
    {"rse-eval", "--run", Takes::kPath},
    {"rse-eval", "--data", Takes::kPath},
    {"rse-eval", "--lengths", Takes::kText},
    {"rse-eval", "--step", Takes::kWhole, "-1"},
    {"rse-eval", "--arms", Takes::kText},
    {"rse-eval", "--seeds", Takes::kText},
    {"rse-eval", "--no-control"},
    {"rse-eval", "--beyond", Takes::kText},
    {"rse-eval", "--max-targets", Takes::kWhole, "0"},
    {"rse-eval", "--pieces", Takes::kWhole, "0"},
    {"rse-eval", "--first-pieces", Takes::kWhole, "0"},
    {"rse-eval", "--mask-seed", Takes::kWhole, "-1"},
    {"rse-eval", "--mask-rate", Takes::kReal, "0", "1.0000001"},
    {"rse-eval", "--batch-tokens", Takes::kWhole, "0", "1073741825"},
    {"rse-eval", "--device", Takes::kText},
    {"rse-eval", "--precision", Takes::kText},
    {"rse-eval", "--threads", Takes::kWhole, "-1", "1025"},
    {"rse-eval", "--output", Takes::kPath},
    {"rse-eval", "--save-targets"},
    {"rse-eval", "--combine", Takes::kPath},
    {"rse-eval", "--no-report"},
    {"rse-eval", "--log-level", Takes::kText},
#ifdef RSE_HAS_BENCH
    {"rse-bench", "--list"},
    {kBench, "--seq-lens", Takes::kWhole, "0", "16777217"},
    {kBench, "--batch", Takes::kWhole, "0", "16777217"},
    {kBench, "--heads", Takes::kWhole, "0", "16777217"},
    {kBench, "--head-dim", Takes::kWhole, "7", "129"},
    {kBench, "--repeats", Takes::kWhole, "0", "16777217"},
    {kBench, "--threads", Takes::kWhole, "-1", "1025"},
    {kBench, "--device", Takes::kText},
    {kBench, "--dtype", Takes::kText},
    {kBench, "--backend", Takes::kText},
    {kBench, "--causal"},
    {kBench, "--self-key"},
    {kBench, "--rotary-base", Takes::kReal, "-0.001", "1.1e12"},
    {kBench, "--decay", Takes::kReal, "-1e-9", "100.1"},
    {kBench, "--run", Takes::kPath},
    {kBench, "--data", Takes::kPath},
    {kBench, "--seed", Takes::kWhole, "-1"},
    {kBench, "--json", Takes::kPath},
    {kStep, "--config", Takes::kPath},
    {kStep, "--set", Takes::kText},
    {kStep, "--device", Takes::kText},
    {kStep, "--steps", Takes::kWhole, "0", "1048577"},
    {kStep, "--warmup", Takes::kWhole, "0", "1048577"},
    {kStep, "--synthetic"},
    {kStep, "--seed", Takes::kWhole, "-1"},
    {kStep, "--fixed-batch"},
    {kStep, "--alone"},
    {kStep, "--profile"},
    {kStep, "--json", Takes::kPath},
#endif
};

std::string camel(std::string_view text) {
  std::string name;
  bool upper = true;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0)
      name += upper ? static_cast<char>(std::toupper(c)) : c;
    upper = std::isalnum(static_cast<unsigned char>(c)) == 0;
  }
  return name;
}

void PrintTo(const Flag& flag, std::ostream* out) { *out << flag.command << ' ' << flag.name; }

class FlagOf : public ProgramTest, public testing::WithParamInterface<Flag> {
 protected:
  // Expects the error "FLAG: 'VALUE': ..." with `part` in it, for the arguments "SUBCOMMAND `arguments`".
  void expect_refused(const std::string& arguments, const std::string& value, const std::string& part) const {
    expect_user_error(program_of(GetParam().command), subcommand_of(GetParam().command) + " " + arguments,
                      {fmt::format("error: {}: '{}': ", GetParam().name, value), part});
  }
};

// Whether the flag goes through apps/parse_flags.h, with its own range. What such a flag refuses is tested below,
// without starting a program for each value.
TEST_P(FlagOf, RefusesWhatItCannotTake) {
  const Flag& flag = GetParam();
  expect_refused(fmt::format("{} ''", flag.name), "", "expected a value");
  if (flag.takes == Takes::kNothing) return;
  const std::set<std::string> say_what_they_take = {"--resume"};
  if (!say_what_they_take.contains(flag.name)) {
    expect_refused(fmt::format("{} --help", flag.name), "--help", "expected a value, found a flag");
  }
  const auto refuse = [&](const std::string& value, const std::string& part) {
    expect_refused(fmt::format("{} '{}'", flag.name, value), value, part);
  };
  if (flag.takes == Takes::kPath) refuse("~/x", "'~' is not expanded here");
  if (flag.takes != Takes::kWhole && flag.takes != Takes::kReal) return;
  const std::string expected = flag.takes == Takes::kWhole ? "expected a whole number" : "expected a number";
  refuse("010x", expected);
  if (flag.below != nullptr) refuse(flag.below, expected);
  if (flag.above != nullptr) refuse(flag.above, expected);
}

INSTANTIATE_TEST_SUITE_P(Every, FlagOf, testing::ValuesIn(kFlags),
                         [](const auto& info) { return camel(info.param.command) + camel(info.param.name); });

class HelpOf : public ProgramTest, public testing::WithParamInterface<const char*> {
 protected:
  Outcome run(const std::string& flag) const {
    return shell(fmt::format("'{}' {} {}", program_of(GetParam()), subcommand_of(GetParam()), flag));
  }
};

TEST_P(HelpOf, ListsTheFlagsThatAreTested) {
  std::set<std::string> tested = {"--help", "--version"};
  for (const Flag& flag : kFlags) {
    if (std::string(flag.command) == GetParam()) tested.insert(flag.name);
  }
  std::set<std::string> listed = {"--version"};
  const std::string help = run("--help").out;
  const std::regex option("\n +(-[a-z], ?)?(--[a-z-]+)");
  for (std::sregex_iterator match(help.begin(), help.end(), option); match != std::sregex_iterator();
       ++match) {
    listed.insert((*match)[2]);
  }
  EXPECT_EQ(listed, tested);
}

TEST_P(HelpOf, TheVersionIsSaidEverywhere) {
  const Outcome outcome = run("--version");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string command = GetParam();
  EXPECT_THAT(outcome.out, testing::MatchesRegex(command.substr(0, command.find(' ')) + " [0-9.]+\n"));
}

INSTANTIATE_TEST_SUITE_P(Every, HelpOf, testing::ValuesIn(kCommands),
                         [](const auto& info) { return camel(info.param); });

// The flags that apps/parse_flags.h can declare, parsed in this process.
struct Parsed {
  std::string text, path;
  std::vector<std::string> paths, path_list;
  int64_t whole = 7;
  double real = 0.5;
  std::vector<int64_t> numbers = {1, 2};
};

Parsed parse(std::vector<std::string> arguments) {
  Parsed values;
  CLI::App app("", "test");
  bool nothing = false;
  app.add_flag("--nothing", nothing, "");
  add_text(app, "--text", values.text, "");
  add_path(app, "--path", values.path, "");
  add_paths(app, "--paths", values.paths, "");
  add_path_list(app, "--path-list", values.path_list, "");
  add_number(app, "--whole", values.whole, between<int64_t>(1, 9), "");
  add_number(app, "--real", values.real, between(0.0, 1.0), "");
  add_numbers(app, "--numbers", values.numbers, between<int64_t>(1, 9), "");
  arguments.insert(arguments.begin(), "test");
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  EXPECT_TRUE(parse_flags(app, static_cast<int>(pointers.size()), pointers.data()));
  return values;
}

// Expects "FLAG: 'VALUE': ..." with `part` in it, whether the value is an argument of its own or behind "=".
void expect_value_refused(const std::string& flag, const std::string& value, const std::string& part) {
  const auto says_so = testing::ThrowsMessage<UserError>(
      testing::AllOf(testing::StartsWith(fmt::format("{}: '{}': ", flag, value)), testing::HasSubstr(part)));
  EXPECT_THAT(([&] { parse({flag, value}); }), says_so) << flag << ' ' << value;
  EXPECT_THAT(([&] { parse({flag + "=" + value}); }), says_so) << flag << '=' << value;
}

TEST(ParseFlags, NoValueIsEmpty) {
  for (const char* flag :
       {"--nothing", "--text", "--path", "--paths", "--path-list", "--whole", "--real", "--numbers"}) {
    expect_value_refused(flag, "", "expected a value");
    EXPECT_THAT(([&] { parse({std::string(flag) + "=", "x"}); }), ThrowsUserError("'': expected a value"));
  }
}

TEST(ParseFlags, AFlagIsNoValue) {
  for (const char* flag : {"--text", "--path", "--paths", "--path-list", "--whole", "--real", "--numbers"}) {
    EXPECT_THAT(([&] {
                  parse({flag, "--help"});
                }),
                ThrowsUserError("expected a value, found a flag"))
        << flag;
  }
}

TEST(ParseFlags, APathThatAShellWouldHaveExpandedIsRefused) {
  for (const char* flag : {"--path", "--paths", "--path-list"}) {
    expect_value_refused(flag, "~/x", "'~' is not expanded here");
    expect_value_refused(flag, "$RSE_UNSET/x", "'$RSE_UNSET' is not expanded here");
    expect_value_refused(flag, " ", "found nothing in it");
  }
}

TEST(ParseFlags, ANumberIsWrittenInOneWay) {
  for (const char* value : {"0x10", "+1", "1 ", "nan", "inf", "many", "1e400", "1_0"}) {
    expect_value_refused("--whole", value, "expected a whole number");
    expect_value_refused("--numbers", value, "expected a whole number");
    expect_value_refused("--real", value, "expected a number");
  }
  for (const char* value : {"1.5", "0", "10", "-1"}) {
    expect_value_refused("--whole", value, "expected a whole number");
    expect_value_refused("--numbers", value, "expected a whole number");
  }
  for (const char* value : {"-0.001", "1.001"}) expect_value_refused("--real", value, "expected a number");
  expect_value_refused("--whole", "99999999999999999999", " and at most ");
}

TEST(ParseFlags, ValuesArrive) {
  const Parsed values = parse({"--text", "a", "--path=b [1]", "--paths", "c", "d", "--path-list", "e,f",
                               "--whole", "09", "--real=1e-1", "--numbers", "3,4", "--paths", "g"});
  EXPECT_EQ(values.text, "a");
  EXPECT_EQ(values.path, "b [1]");
  EXPECT_THAT(values.paths, testing::ElementsAre("c", "d", "g"));
  EXPECT_THAT(values.path_list, testing::ElementsAre("e", "f"));
  EXPECT_EQ(values.whole, 9);
  EXPECT_EQ(values.real, 0.1);
  EXPECT_THAT(values.numbers, testing::ElementsAre(3, 4));
}

class Flags : public ProgramTest {};

TEST_F(Flags, APositionalArgumentIsNotEmptyEither) {
  expect_user_error(RSE_DATA_PROGRAM, "info ''", {"argument 2: '': expected a value"});
  expect_user_error(RSE_DATA_PROGRAM, "info '~/x.bin'", {"file: '~/x.bin': '~' is not expanded"});
}

TEST_F(Flags, NothingIsBetweenTwoCommas) {
  expect_user_error(RSE_EVAL_PROGRAM, "--combine a,,b --output c", {"--combine: '': "});
  expect_user_error(RSE_EVAL_PROGRAM, "--combine a, --output c", {"--combine: '': "});
#ifdef RSE_HAS_BENCH
  expect_user_error(RSE_BENCH_PROGRAM, "attention --seq-lens 16,,32", {"--seq-lens: ''"});
  expect_user_error(RSE_BENCH_PROGRAM, "attention --decay 1,", {"--decay: ''"});
#endif
}

TEST_F(Flags, AreGivenOnce) {
  expect_user_error(RSE_DATA_PROGRAM, "info x.bin --log-level info --log-level warn", {"--log-level"});
}

}  // namespace
}  // namespace rse
