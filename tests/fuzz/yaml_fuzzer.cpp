// Fuzzes configurations: an accepted one can be dumped and read again to the same tree, and it binds to typed
// settings or is refused.
//
// The input is YAML text. A last line that begins with "--set " is an assignment to it.
#include "core/config_binder.h"
#include "core/config_tree.h"
#include "data/masking.h"
#include "tests/fuzz/fuzz.h"

namespace rse {
namespace {

enum class Choice { kOne, kTwo };

struct Inner {
  std::vector<int64_t> numbers = {1};
  std::vector<double> rates = {0.5};
  std::string word;
  void bind(ConfigBinder& b) {
    b.field("numbers", numbers, at_least<int64_t>(0));
    b.field("rates", rates, between(0.0, 1.0));
    b.field("word", word);
  }
};

// One field of every kind, under the names that the shipped configurations use.
struct Settings {
  bool deterministic = false;
  int64_t steps = 1;
  double learning_rate = 1;
  std::string output;
  Choice device = Choice::kOne;
  Inner model;
  MaskingConfig mask;
  void bind(ConfigBinder& b) {
    b.field("deterministic", deterministic);
    b.field("steps", steps, between<int64_t>(1, 1000));
    b.field("learning_rate", learning_rate, above(0.0));
    b.path_field("output", output);
    b.choice("device", device, {{"auto", Choice::kOne}, {"cpu", Choice::kTwo}});
    b.group("model", model);
    b.group("mask", mask);
  }
};

bool same(const ConfigNode& a, const ConfigNode& b) {
  if (a.kind != b.kind || a.scalar != b.scalar || a.items.size() != b.items.size() ||
      a.entries.size() != b.entries.size()) {
    return false;
  }
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!same(a.items[i], b.items[i])) return false;
  }
  for (size_t i = 0; i < a.entries.size(); ++i) {
    if (a.entries[i].first != b.entries[i].first || !same(a.entries[i].second, b.entries[i].second))
      return false;
  }
  return true;
}

void read_tree(ConfigNode tree, const std::string& assignment) {
  if (!assignment.empty()) accepted([&] { set_config_value(tree, assignment); });
  const std::string text = dump_config(tree);
  ConfigNode again;
  FUZZ_EXPECT(accepted([&] { again = parse_config(text, "again.yaml"); }));
  if (text.find("\xEF\xBF\xBD") != std::string::npos)
    return;  // yaml-cpp's mark for what YAML may not hold, such as U+FFFF
  FUZZ_EXPECT(same(tree, again));
  merge_config(again, tree);
  FUZZ_EXPECT(same(tree, again));
  accepted([&] {
    Settings settings;
    bind_config(tree, settings);
    const ConfigNode dumped = dump_bound(settings);
    if (dump_config(dumped).find("\xEF\xBF\xBD") != std::string::npos)
      return;  // a text that --set took whole
    Settings back;
    FUZZ_EXPECT(accepted([&] { bind_config(parse_config(dump_config(dumped), "dump.yaml"), back); }));
    FUZZ_EXPECT(same(dumped, dump_bound(back)));
  });
}

}  // namespace
}  // namespace rse

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rse;
  std::string text(reinterpret_cast<const char*>(data), size), assignment;
  constexpr std::string_view kSet = "\n--set ";
  if (const size_t at = text.rfind(kSet); at != std::string::npos) {
    assignment = text.substr(at + kSet.size());
    text.resize(at);
  }
  accepted([&] { read_tree(parse_config(text, "fuzz.yaml"), assignment); });
  return 0;
}
