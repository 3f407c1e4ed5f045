// Tests what rse-eval prints at its end: how long it is and what its sentences say.
#include "analysis/terminal_summary.h"

#include <algorithm>

#include "analysis/headlines.h"
#include "tests/analysis/example_analysis.h"
#include "tests/support.h"

namespace rse {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

struct ExampleArm {
  std::string name;
  double base;
  double change;          // change of the NLL per doubling of the length
  double first_seed = 0;  // added to the NLL of seed 1
};

// Every arm has `seeds` seeds, evaluated at `lengths`, with or without the control. The first length is the
// trained one.
Analysis example(const std::vector<ExampleArm>& arms, uint64_t seeds, const std::vector<int64_t>& lengths,
                 bool control = true) {
  const TargetPlaces places = even_places(40, 3);
  std::vector<ReplicaLosses> replicas;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    for (const ExampleArm& arm : arms) {
      ReplicaLosses& replica = replicas.emplace_back(ReplicaLosses{arm.name, seed, {}});
      for (const int64_t window : control ? std::vector<int64_t>{0, 4} : std::vector<int64_t>{0}) {
        double shift = 0;
        for (const int64_t length : lengths) {
          replica.lengths.push_back(
              losses_by_rule(places, length, window, [&](int64_t target, int64_t document) {
                const double noise = 0.01 * static_cast<double>((target + document) % 3);
                return static_cast<float>(arm.base + (seed == 1 ? arm.first_seed : 0) +
                                          0.001 * static_cast<double>(seed) + shift * (1 + noise));
              }));
          if (window == 0) shift += arm.change;
        }
      }
    }
  }
  return analyze(places, replicas, lengths.front(), kEntropy, kQuick);
}

const std::vector<int64_t> kSixLengths = {512, 1024, 2048, 4096, 8192, 16384};
const std::vector<ExampleArm> kThreeArms = {{"learned", 5.5, 0.1}, {"rope", 3.3, 0.4}, {"rse", 3.2, -0.01}};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

void expect_fits(const std::string& text) {
  const std::vector<std::string> lines = lines_of(text);
  EXPECT_LE(lines.size(), kSummaryLines) << text;
  for (const std::string& line : lines) EXPECT_LE(line.size(), kSummaryColumns) << text;
}

// Returns the text with its line breaks undone.
std::string unwrapped(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

TEST(TerminalSummary, OfThreeArmsFiveSeedsAndSixLengthsFits) {
  const Analysis analysis = example(kThreeArms, 5, kSixLengths);
  const std::string text = terminal_summary(analysis);
  expect_fits(text);
  const std::vector<std::string> lines = lines_of(text);
  EXPECT_EQ(lines[0],
            "Mean NLL in nats per target over 5 seeds; 120 targets in 40 documents; lower is better.");
  EXPECT_THAT(lines[1], testing::MatchesRegex("tokens +512 +1,024 +2,048 +4,096 +8,192 +16,384"));
  EXPECT_THAT(lines[2], testing::StartsWith("learned"));
  EXPECT_THAT(lines[3], testing::StartsWith("  control"));
  EXPECT_THAT(lines[6], testing::MatchesRegex("rse +3.2030 .* 3.1525"));
  EXPECT_THAT(lines[7], testing::MatchesRegex("  control +3.2030 .* 3.2030"));
  EXPECT_THAT(lines[8], HasSubstr("unigram entropy of the data: 6.0000 nats. The report adds every seed"));
}

TEST(TerminalSummary, SaysWhatMattersOfEveryArm) {
  const std::string text = unwrapped(terminal_summary(example(kThreeArms, 5, kSixLengths)));
  EXPECT_THAT(text, HasSubstr("From 512 to 16,384 tokens, change of NLL in nats: rope deteriorates (+2.0"));
  EXPECT_THAT(text, HasSubstr("rse improves (-0.05"));
  EXPECT_THAT(text, HasSubstr("Against the control (attention only within 3 tokens) at 16,384 tokens: rope "
                              "is worse (+2.0"));
  EXPECT_THAT(text, HasSubstr("rse is better (-0.05"));
  EXPECT_THAT(text, HasSubstr("Between arms at 16,384 tokens, 5 seeds are not enough for a verdict (18 "
                              "comparisons take 10): rope minus rse +2.1"));
  EXPECT_THAT(text, HasSubstr("learned is still on the unigram plateau, so its numbers say nothing"));
  EXPECT_THAT(text, HasSubstr("There are 5 seeds: where seeds differ more than documents"));
  EXPECT_EQ(summary_sentences(example(kThreeArms, 5, kSixLengths), 4).size(), 5u);
}

TEST(TerminalSummary, NamesVerdictsOfEnoughSeeds) {
  const std::vector<ExampleArm> arms = {{"rope", 3.3, 0.4}, {"rse", 3.2, 0.0}};
  const std::string seven = unwrapped(terminal_summary(example(arms, 7, {512, 1024})));
  EXPECT_THAT(seven,
              HasSubstr("Between arms at 1,024 tokens: rse is better than rope (rope minus rse +0.50"));
  EXPECT_THAT(seven, HasSubstr("p 0.031); p is after Holm's correction."));
  EXPECT_THAT(seven, HasSubstr("rse holds (+0.0000 [+0.0000, +0.0000])"));
  EXPECT_THAT(seven, HasSubstr("rse shows no difference (+0.0000"));
  const std::string one = unwrapped(terminal_summary(example(arms, 1, {512, 1024}, false)));
  EXPECT_THAT(one, HasSubstr("1 seed is not enough for a verdict (2 comparisons take 7)"));
  EXPECT_THAT(one, HasSubstr("No control was evaluated"));
  EXPECT_THAT(one, HasSubstr("There is one seed per arm"));
  EXPECT_THAT(one, Not(HasSubstr("is better than")));
}

TEST(TerminalSummary, OfManyLengthsShowsPowersOfTheTrainedLength) {
  std::vector<int64_t> lengths;
  for (int64_t factor = 1; factor <= 12; ++factor) lengths.push_back(factor * 1024);
  const std::string text = terminal_summary(example({{"rse", 3.2, 0.0}}, 1, lengths));
  expect_fits(text);
  EXPECT_THAT(lines_of(text)[1], testing::MatchesRegex("tokens +1,024 +2,048 +4,096 +8,192 +12,288"));
  EXPECT_THAT(unwrapped(text), HasSubstr("The report adds 7 lengths, every seed"));
}

TEST(TerminalSummary, OfManyArmsStillFits) {
  std::vector<ExampleArm> arms;
  for (int i = 0; i < 9; ++i)
    arms.push_back({fmt::format("method_with_a_name_{}", i), 3.0 + 0.01 * i, 0.01 * i});
  const std::string nine = terminal_summary(example(arms, 2, kSixLengths));
  expect_fits(nine);
  EXPECT_THAT(nine, AllOf(HasSubstr("method_with_a_name_8"), Not(HasSubstr("  control "))));
  EXPECT_THAT(unwrapped(nine),
              AllOf(HasSubstr("more are in the report"), HasSubstr("adds the control, every")));
  for (int i = 9; i < 30; ++i) arms.push_back({fmt::format("{}{}", std::string(90, 'x'), i), 3.0, 0.0});
  const std::string thirty = terminal_summary(example(arms, 2, {512, 1024}));
  EXPECT_LE(lines_of(thirty).size(), kSummaryLines) << thirty;
  EXPECT_THAT(unwrapped(thirty), testing::ContainsRegex("The report adds [0-9]+ arms"));
}

TEST(TerminalSummary, OfManyArmsOnThePlateauStillFits) {
  std::vector<ExampleArm> arms;
  for (int i = 0; i < 30; ++i) arms.push_back({fmt::format("{}{}", std::string(60, 'x'), i), 5.9, 0.0});
  const std::string text = terminal_summary(example(arms, 2, {512, 1024}));
  EXPECT_LE(lines_of(text).size(), kSummaryLines) << text;
  EXPECT_THAT(unwrapped(text), testing::ContainsRegex("[0-9]+ more are still on the unigram plateau"));
}

TEST(Headlines, NameTheSeedsOnThePlateauWhereOthersAreNot) {
  const Analysis analysis = example({{"rope", 3.3, 0.1, 2.7}, {"rse", 3.2, 0.0}}, 5, {512, 1024});
  EXPECT_THAT(make_headlines(analysis).arms[0].text,
              HasSubstr("rope: 1 of 5 seeds is still on the unigram plateau: NLL 6.001 (seed 1) at 512"));
  EXPECT_THAT(unwrapped(terminal_summary(analysis)),
              HasSubstr("rope (1 of 5 seeds) is still on the unigram plateau"));
}

TEST(Headlines, AreOnePerArmAndOneBetweenArms) {
  const Headlines headlines = make_headlines(example(kThreeArms, 5, kSixLengths));
  ASSERT_EQ(headlines.arms.size(), 3u);
  EXPECT_THAT(headlines.arms[0].text, HasSubstr("learned is still on the unigram plateau: its NLL of 5.503"));
  EXPECT_THAT(
      headlines.arms[1].text,
      AllOf(HasSubstr("rope deteriorates: from 512 to 16,384 tokens, paired by target, its NLL changes "
                      "by +2.0"),
            HasSubstr("It is worse than its control (attention only within 3 tokens) there")));
  EXPECT_THAT(headlines.arms[2].text, HasSubstr("so it uses context farther away"));
  EXPECT_THAT(headlines.between_arms, HasSubstr("rope minus rse +2.1"));
  EXPECT_THAT(headlines.scope, HasSubstr("5 seeds"));
  const Headlines alone = make_headlines(example({{"rse", 3.2, 0.0}}, 1, {512}, false));
  EXPECT_EQ(alone.arms[0].text,
            "rse has a mean NLL of 3.2010 at the trained 512 tokens; no longer length was evaluated.");
  EXPECT_EQ(alone.between_arms, "");
}

}  // namespace
}  // namespace rse
