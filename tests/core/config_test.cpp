#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config_binder.h"
#include "core/config_tree.h"
#include "core/file.h"
#include "tests/support.h"

namespace rse {
namespace {

enum class Color { kRed, kGreen };

struct Inner {
  double rate = 0.5;
  std::vector<int64_t> sizes = {1, 2};
  void bind(ConfigBinder& b) {
    b.field("rate", rate, above(0.0));
    b.field("sizes", sizes, at_least<int64_t>(1));
  }
};

struct Outer {
  bool flag = false;
  int64_t count = 3;
  std::string name = "x";
  Color color = Color::kRed;
  Inner inner;
  void bind(ConfigBinder& b) {
    b.field("flag", flag);
    b.field("count", count, between<int64_t>(1, 100));
    b.field("name", name);
    b.choice("color", color, {{"red", Color::kRed}, {"green", Color::kGreen}});
    b.group("inner", inner);
  }
};

Outer read(const std::string& text) {
  Outer config;
  bind_config(parse_config(text, "f.yaml"), config);
  return config;
}

TEST(Config, ReadsEveryKind) {
  const Outer config =
      read("flag: true\ncount: 7\nname: hello\ncolor: green\ninner: {rate: 1e-3, sizes: [4, 5]}\n");
  EXPECT_TRUE(config.flag);
  EXPECT_EQ(config.count, 7);
  EXPECT_EQ(config.name, "hello");
  EXPECT_EQ(config.color, Color::kGreen);
  EXPECT_EQ(config.inner.rate, 1e-3);
  EXPECT_EQ(config.inner.sizes, (std::vector<int64_t>{4, 5}));
}

TEST(Config, KeepsDefaultsOfAbsentKeys) {
  const Outer config = read("");
  EXPECT_EQ(config.count, 3);
  EXPECT_EQ(config.inner.rate, 0.5);
}

TEST(Config, DumpReadsBackToTheSameValues) {
  Outer config = read("count: 42\nname: 'a: b'\ninner: {rate: 0.1}\n");
  const std::string text = dump_config(dump_bound(config));
  const Outer again = read(text);
  EXPECT_EQ(again.count, 42);
  EXPECT_EQ(again.name, "a: b");
  EXPECT_EQ(again.inner.rate, 0.1);
  EXPECT_EQ(dump_config(dump_bound(again)), text);
}

// A text that needs quotes, escapes or a block comes back from a dump unchanged.
TEST(Config, DumpKeepsEveryText) {
  for (const char* text :
       {"''", "'~'", "'null'", "'#'", "'- x'", "\"\\x01\\x7f\\e\"", "\"\\u0085\\u2028\\ufeff\"",
        "\"\\U0001F600\"", "'a: b'", "' x '", "\"\\t\\r\\n\"", "\"a\\n\\n\"", "'ü|'", "M\xC3\xBCnchen"}) {
    const ConfigNode tree = parse_config("name: " + std::string(text) + "\n", "f.yaml");
    const ConfigNode again = parse_config(dump_config(tree), "again.yaml");
    EXPECT_EQ(again.find("name")->kind, tree.find("name")->kind) << text;
    EXPECT_EQ(again.find("name")->scalar, tree.find("name")->scalar) << text;
  }
}

TEST(Config, NamesFileLineAndNearestKey) {
  EXPECT_THAT([] { read("count: 1\ninner:\n  rtae: 2\n"); },
              ThrowsUserError("f.yaml:3: unknown key 'inner.rtae', did you mean 'rate'?"));
}

TEST(Config, RefusesValuesOutOfRangeOrKind) {
  EXPECT_THAT([] { read("count: 0"); },
              ThrowsUserError("f.yaml:1: count: '0': expected a whole number of at least 1 and at most 100"));
  EXPECT_THAT([] { read("count: 1.5"); }, ThrowsUserError("expected a whole number"));
  EXPECT_THAT([] { read("count: 99999999999999999999"); }, ThrowsUserError("expected a whole number"));
  EXPECT_THAT([] { read("count: [1]"); }, ThrowsUserError("count: a list: expected a single value"));
  EXPECT_THAT([] { read("inner: {rate: nan}"); },
              ThrowsUserError("inner.rate: 'nan': expected a number above 0"));
  EXPECT_THAT([] { read("inner: {rate: inf}"); }, ThrowsUserError("expected a number above 0"));
  EXPECT_THAT([] { read("inner: {sizes: [1, 0]}"); }, ThrowsUserError("inner.sizes: '0'"));
  EXPECT_THAT([] { read("inner: 3"); }, ThrowsUserError("inner: '3': expected a map"));
  EXPECT_THAT([] { read("flag: yes"); }, ThrowsUserError("expected true or false"));
  EXPECT_THAT([] { read("color: gren"); }, ThrowsUserError("did you mean 'green'?"));
}

TEST(Config, RefusesBrokenYaml) {
  EXPECT_THAT([] { read("count: 1\ncount: 2\n"); },
              ThrowsUserError("f.yaml:2: key 'count' is written twice"));
  EXPECT_THAT([] { read("a: &x 1\nb: *x\n"); }, ThrowsUserError("anchors are not supported"));
  EXPECT_THAT([] { read("count: !!int 3"); }, ThrowsUserError("f.yaml:1: YAML tags are not supported"));
  EXPECT_NO_THROW(read("count: 3\nname: '7'"));  // quotes are no tag
  EXPECT_THAT([] { read(std::string("count: 1\n\0", 10)); },
              ThrowsUserError("f.yaml:2: byte 0x00: expected YAML in UTF-8"));
  EXPECT_THAT([] { read("name: \"a\\0\""); }, ThrowsUserError("f.yaml:1: a NUL byte"));
  EXPECT_THAT([] { read("inner:\n\trate: 1\n"); }, ThrowsUserError("f.yaml:2: not valid YAML"));
  EXPECT_THAT([] { read("- 1\n- 2\n"); }, ThrowsUserError("expected a map of keys at the top"));
  EXPECT_THAT([] { read(std::string(129, 'k') + ": 1"); }, ThrowsUserError("f.yaml:1: a key of 129 bytes"));
  EXPECT_THAT([] { read(std::string(1000, '[')); }, ThrowsUserError("f.yaml:1"));
  EXPECT_THAT([] { read(std::string(2 << 20, '[')); }, ThrowsUserError("a configuration has at most"));
}

TEST(Config, OverridesWinAndSayWhereTheyCameFrom) {
  ConfigNode tree = parse_config("count: 5\ninner: {rate: 1}\n", "f.yaml");
  merge_config(tree, parse_config("inner: {sizes: [9]}\n", "arm"));
  set_config_value(tree, "inner.rate=2.5");
  set_config_value(tree, "color=green");
  Outer config;
  bind_config(tree, config);
  EXPECT_EQ(config.count, 5);
  EXPECT_EQ(config.inner.rate, 2.5);
  EXPECT_EQ(config.inner.sizes, (std::vector<int64_t>{9}));
  EXPECT_EQ(config.color, Color::kGreen);
  set_config_value(tree, "count=many");
  EXPECT_THAT([&] { bind_config(tree, config); }, ThrowsUserError("--set count=many: count: 'many'"));
  EXPECT_THAT([&] { set_config_value(tree, "count"); }, ThrowsUserError("expected KEY=VALUE"));
  ConfigNode misspelled = parse_config("", "f.yaml");
  set_config_value(misspelled, "iner.rate=2");
  EXPECT_THAT([&] { bind_config(misspelled, config); },
              ThrowsUserError("--set iner.rate=2: unknown key 'iner', did you mean 'inner'?"));
  std::string deep = "a";
  for (int level = 1; level < kMaxConfigDepth; ++level) deep += ".a";
  EXPECT_NO_THROW(set_config_value(tree, deep + "=1"));
  EXPECT_THAT([&] { set_config_value(tree, deep + "=[1]"); },
              ThrowsUserError("nested deeper than 32 levels"));
  EXPECT_THAT([&] { set_config_value(tree, deep + ".a=1"); },
              ThrowsUserError("nested deeper than 32 levels"));
  EXPECT_NO_THROW(parse_config(dump_config(tree), "again.yaml"));
  EXPECT_THAT([&] { set_config_value(tree, std::string(129, 'k') + "=1"); },
              ThrowsUserError("a key of 129 bytes"));
}

struct Texts {
  std::string folder = "runs/x", note;
  std::vector<int64_t> sizes;
  int64_t count = 0;
  Inner inner;
  void bind(ConfigBinder& b) {
    b.path_field("folder", folder);
    b.field("note", note);
    b.field("sizes", sizes, at_least<int64_t>(1));
    b.field("count", count, at_least<int64_t>(0));
    b.group("inner", inner);
  }
};

Texts set_in(const std::string& text, const std::string& assignment) {
  ConfigNode tree = parse_config(text, "f.yaml");
  set_config_value(tree, assignment);
  Texts config;
  bind_config(tree, config);
  return config;
}

// What YAML would drop, cut or take for something else arrives whole where the key holds text.
TEST(Config, ATextThatIsSetIsTakenWhole) {
  for (const char* text : {"%x",  "a #b",    "#x",   "@x",   "`x`",
                           "*x",  "&x",      "!x",   "[x]",  "{x}",
                           "[x",  "a: b",    "- x",  "? x",  "|",
                           "> x", "null",    "true", "010",  " x ",
                           "x'y", "\"a\" b", "a=b",  "a\tb", "M\xC3\xBCnchen",
                           ": x", "x:"}) {
    EXPECT_EQ(set_in("", "folder=" + std::string(text)).folder, text);
    EXPECT_EQ(set_in("", "note=" + std::string(text)).note, text);
  }
  EXPECT_EQ(set_in("", "note=~").note, "~");
  EXPECT_EQ(set_in("", "folder='a #b'").folder, "a #b");  // quotes are YAML's
  EXPECT_EQ(set_in("", "folder=\"\\u00fc\"").folder, "\xC3\xBC");
  EXPECT_EQ(set_in("", "count= 010 ").count, 10);
  EXPECT_EQ(set_in("", "inner={rate: 2, sizes: [3]}").inner.rate, 2);
  EXPECT_EQ(set_in("", "inner=sizes: [3]").inner.sizes, (std::vector<int64_t>{3}));
  EXPECT_EQ(set_in("inner: {rate: 3}", "inner=null").inner.rate, 0.5);
}

TEST(Config, ANumberThatIsSetIsNotCutEither) {
  EXPECT_THAT([] { set_in("", "count=6 #b"); },
              ThrowsUserError("--set count=6 #b: count: '6 #b': expected a whole"));
  EXPECT_THAT([] { set_in("", "count=%6"); }, ThrowsUserError("count: '%6': expected a whole number"));
  EXPECT_THAT([] { set_in("", "sizes=[1"); },
              ThrowsUserError("--set sizes=[1: not valid YAML: found an opening bracket [ in column 1"));
  EXPECT_THAT([] { set_in("", "inner={rate: 1, rate: 2}"); }, ThrowsUserError("key 'rate' is written twice"));
  EXPECT_THAT([] { set_in("", "sizes=1, 2"); },
              ThrowsUserError("sizes: '1, 2': expected a list, such as [1, 2]"));
}

TEST(Config, NothingAfterTheEqualsSignIsAnError) {
  for (const char* text : {"", " ", "\t"}) {
    for (const char* key : {"folder", "note", "count", "inner", "inner.rate", "unknown"}) {
      EXPECT_THAT([&] { set_in("", fmt::format("{}={}", key, text)); },
                  ThrowsUserError(fmt::format("{}: not set: expected a value after '='", key)));
    }
  }
}

TEST(Config, APathIsRefusedWhereAShellWouldHaveExpandedIt) {
  const auto set = [](const std::string& text) { return [text] { set_in(text, "count=1"); }; };
  EXPECT_THAT(set("count: 1\nfolder: ~/x\n"),
              ThrowsUserError("f.yaml:2: folder: '~/x': '~' is not expanded"));
  EXPECT_THAT(set("folder: $HOME/x\n"),
              ThrowsUserError("f.yaml:1: folder: '$HOME/x': '$HOME' is not expanded"));
  EXPECT_THAT(set("folder: ''\n"), ThrowsUserError("f.yaml:1: folder: '': expected a path"));
  EXPECT_THAT([] { set_in("", "folder=~"); },
              ThrowsUserError("--set folder=~: folder: '~': '~' is not expanded"));
  EXPECT_EQ(set_in("folder: ~\n", "count=1").folder, "");  // null: not set
  EXPECT_EQ(set_in("note: ~/x\n", "count=1").note, "~/x");
  Texts unset;
  unset.folder.clear();
  const std::string dump = dump_config(dump_bound(unset));
  EXPECT_EQ(set_in(dump, "count=1").folder, "");
}

TEST(Config, AKeyWithoutItsSpaceSaysSo) {
  EXPECT_THAT([] { read("inner: {rate:6}"); },
              ThrowsUserError("found '6' after ':', expected a space there"));
  EXPECT_THAT([] { read("inner:\n  rate:6\n"); },
              ThrowsUserError("f.yaml:2: inner: 'rate:6': expected a map of keys; found '6' after ':'"));
}

struct Ruled {
  Inner open, closed;
  int64_t steps = 1;
  Color color = Color::kRed;
  void bind(ConfigBinder& b) {
    b.group("open", open, {.arm_may_override = true});
    b.group("closed", closed);
    b.field("steps", steps, at_least<int64_t>(1), {.resume_may_change = true, .resume_price = "it costs"});
    b.choice("color", color, {{"red", Color::kRed}, {"green", Color::kGreen}},
             {.resume_may_change = true, .condition = "if dark"});
  }
};

TEST(Config, ARuleIsSaidWhereTheKeyIsBoundAndHoldsBelowAGroup) {
  const KeyRules rules = key_rules_of<Ruled>();
  EXPECT_TRUE(rules.at("open.rate").arm_may_override);
  EXPECT_TRUE(rules.at("open.unknown").arm_may_override);
  for (const char* key : {"open", "opened.rate", "closed.rate", "steps", "steps.x", "unknown", ""}) {
    EXPECT_FALSE(rules.at(key).arm_may_override) << key;
  }
  EXPECT_TRUE(rules.at("steps").resume_may_change);
  EXPECT_STREQ(rules.at("steps").resume_price, "it costs");
  EXPECT_FALSE(rules.at("open.rate").resume_may_change);
  EXPECT_EQ(rules.list(&KeyRule::resume_may_change), "steps and color (if dark)");
  EXPECT_EQ(rules.list(&KeyRule::arm_may_override), "open.*");
  EXPECT_EQ(rules.list(&KeyRule::combined_may_differ), "nothing");
}

TEST(Config, ABareNameThatIsNowhereListsThePlaces) {
  EXPECT_THAT([] { find_config("no_such_config.yaml"); },
              ThrowsUserError("share/rse/configs/no_such_config.yaml"));
}

}  // namespace
}  // namespace rse
