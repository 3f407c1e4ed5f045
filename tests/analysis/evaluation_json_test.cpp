// evaluation.json is written and read again.
#include "analysis/evaluation_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "analysis/evaluation_reader.h"
#include "analysis/findings.h"
#include "analysis/headlines.h"
#include "analysis/terminal_summary.h"
#include "tests/analysis/example_analysis.h"
#include "tests/support.h"

namespace rse {
namespace {

using nlohmann::json;

TEST(EvaluationJson, HoldsEverything) {
  const TemporaryFolder folder;
  const Analysis analysis = analysis_of_changes({{"rse", -0.05}, {"<learned> & \"co\"", 0.1}}, 2);
  EvaluationMeta meta;
  meta.program = "rse-eval 0";
  meta.lengths = {8, 16, 64};
  meta.control_window = 4;
  ArmCost& cost = meta.costs.emplace_back();
  cost.arm = "rse";
  cost.parameters = 12;
  meta.decay.push_back({"rse", 1, {{0.5, 0.25}}});
  meta.configuration = "model: {}\n";
  write_evaluation(folder / "evaluation.json", analysis, meta);
  const auto json = nlohmann::json::parse(read_file(folder / "evaluation.json"));
  EXPECT_EQ(json["format"], 1);
  EXPECT_EQ(json["protocol"]["trained_length"], 8);
  EXPECT_EQ(json["protocol"]["control_window"], 4);
  EXPECT_EQ(json["arms"].size(), 2u);
  EXPECT_EQ(json["arms"][1]["arm"], "<learned> & \"co\"");
  EXPECT_EQ(json["replicas"].size(), 4u);
  const auto& full_16 = json["replicas"][0]["results"][1];
  EXPECT_EQ(full_16["length"], 16);
  EXPECT_EQ(full_16["attention"], "full");
  EXPECT_TRUE(full_16["attention_window"].is_null());
  EXPECT_EQ(full_16["difference"]["mean"], analysis.replicas[0].at(16, false)->difference->mean);
  EXPECT_EQ(full_16["difference"]["low"], analysis.replicas[0].at(16, false)->difference->interval->low);
  EXPECT_TRUE(json["replicas"][0]["results"][0]["difference"].is_null());
  EXPECT_EQ(json["replicas"][0]["results"][3]["attention_window"], 4);
  EXPECT_EQ(json["comparisons"].size(), 3u);
  EXPECT_EQ(json["comparisons"][0]["verdict"], "not enough seeds");
  EXPECT_EQ(json["findings"].get<std::vector<std::string>>(), findings(analysis));
  EXPECT_EQ(json["overlap"]["warnings"], nlohmann::json::array());
  EXPECT_EQ(json["headlines"]["warnings"], nlohmann::json::array());
  EXPECT_EQ(json["costs"][0]["parameters"], 12);
  EXPECT_TRUE(json["costs"][0]["mfu"].is_null());
  EXPECT_EQ(json["decay"][0]["lambda"][0][1], 0.25);
  EXPECT_EQ(json["configuration"], "model: {}\n");
}

class ReadEvaluation : public testing::Test {
 protected:
  void SetUp() override {
    EvaluationMeta meta;
    meta.program = "rse-eval 0";
    meta.run = "runs/a";
    meta.trained_on = {"1f", "2e"};
    meta.pieces = 3;
    meta.lengths = {8, 16, 64};
    meta.control_window = 4;
    meta.mask_seed = 18446744073709551615u;
    meta.costs.resize(2);
    meta.costs[0].arm = "rse";
    meta.costs[0].device = "a device";
    meta.costs[0].memory_bytes = 1 << 20;
    meta.costs[0].step_ms = 1.5;
    meta.costs[1].arm = "rope";
    meta.decay.push_back({"rse", 1, {{0.5, 0.25}, {1, 2}}});
    meta.configuration = "model: {}\n";
    write_evaluation(file_, analysis_of_changes({{"rse", -0.05}, {"rope", 0.1}}, 2), meta);
    intact_ = json::parse(read_file(file_));
  }
  // Returns what the reader says after `change` was made to the file.
  void expect_refused(const std::function<void(json&)>& change, const std::string& message) {
    json changed = intact_;
    change(changed);
    write_file_atomically(file_, changed.dump());
    EXPECT_THAT([&] { read_evaluation(file_); }, ThrowsUserError(file_.string() + ": " + message));
  }
  TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_ / "evaluation.json";
  json intact_;
};

TEST_F(ReadEvaluation, GivesBackWhatWasWritten) {
  const StoredEvaluation stored = read_evaluation(file_);
  EXPECT_EQ(stored.trained_length, 8);
  EXPECT_EQ(stored.targets, 240);
  EXPECT_EQ(stored.unigram_entropy, kEntropy);
  EXPECT_THAT(stored.arms, testing::ElementsAre("rse", "rope"));
  ASSERT_EQ(stored.replicas.size(), 4u);
  EXPECT_EQ(stored.replicas[3].arm, "rope");
  EXPECT_EQ(stored.replicas[3].seed, 2u);
  EXPECT_THAT(stored.replicas[3].seconds, testing::ElementsAre(1, 1, 1, 1, 1, 1));
  EXPECT_EQ(stored.meta.run, "runs/a");
  EXPECT_EQ(stored.meta.control_window, 4);
  EXPECT_EQ(stored.meta.mask_seed, 18446744073709551615u);
  EXPECT_THAT(stored.meta.trained_on, testing::ElementsAre("1f", "2e"));
  EXPECT_EQ(stored.meta.costs.at(0).device, "a device");
  EXPECT_EQ(stored.meta.costs[0].memory_bytes, 1 << 20);
  EXPECT_EQ(stored.meta.costs[0].step_ms, 1.5);
  EXPECT_FALSE(stored.meta.costs[0].mfu.has_value());
  EXPECT_EQ(stored.meta.decay.at(0).lambda, (std::vector<std::vector<double>>{{0.5, 0.25}, {1, 2}}));
  EXPECT_EQ(stored.meta.configuration, "model: {}\n");
}

TEST_F(ReadEvaluation, OverlapsAreKeptAndThoseOfOldFilesFollowFromTheFingerprints) {
  EvaluationMeta meta;
  meta.costs.resize(2);
  meta.pieces = 1;
  meta.trained_on = {"1f", "2e"};
  meta.data_fingerprint = "2e";
  meta.overlap = {5, {false, true, std::nullopt}, {true, false, 5}};
  write_evaluation(file_, analysis_of_changes({{"rse", -0.05}, {"rope", 0.1}}, 2), meta);
  const DataOverlap stored = read_evaluation(file_).meta.overlap;
  EXPECT_EQ(stored.documents, 5);
  EXPECT_TRUE(!stored.train.same_content && stored.train.same_file && !stored.train.documents);
  EXPECT_TRUE(stored.valid.same_content && !stored.valid.same_file && stored.valid.documents == 5);
  json old = json::parse(read_file(file_));
  old.erase("overlap");
  write_file_atomically(file_, old.dump());
  const DataOverlap derived = read_evaluation(file_).meta.overlap;
  EXPECT_FALSE(derived.train.same_content);
  EXPECT_TRUE(derived.valid.same_content);
}

TEST(DataOverlap, SentencesSayWhatIsSharedAndWhatFollows) {
  EXPECT_THAT(overlap_warnings({9, {}, {}}), testing::IsEmpty());
  EXPECT_THAT(overlap_warnings({9, {false, false, 0}, {false, false, 0}}), testing::IsEmpty());
  const auto both = overlap_warnings({1200, {false, false, 1100}, {true, true, 1200}});
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0],
            "1,100 of 1,200 evaluated documents are also among the run's training texts, token by token: the "
            "models "
            "have seen them, so their losses say nothing about held-out text.");
  EXPECT_EQ(
      both[1],
      "The evaluated texts are the run's validation texts: where a checkpoint or a setting was chosen by the "
      "validation NLL, their losses are too low for held-out text.");
  const DataOverlap joined =
      join({9, {false, false, std::nullopt}, {}}, {9, {true, false, 3}, {false, true, 0}});
  EXPECT_TRUE(joined.train.same_content && joined.train.documents == 3 && joined.valid.same_file);
}

TEST(DataOverlap, WarningsComeFirstEverywhere) {
  Analysis analysis = analysis_of_changes({{"rse", -0.05}, {"rope", 0.1}}, 2);
  analysis.warnings = {"The texts were seen.", "So were these."};
  EXPECT_THAT(findings(analysis), testing::Contains("So were these."));
  EXPECT_EQ(findings(analysis).front(), "The texts were seen.");
  EXPECT_EQ(make_headlines(analysis).warnings, analysis.warnings);
  const std::string text = terminal_summary(analysis);
  EXPECT_THAT(text, testing::StartsWith("WARNING: The texts were seen.\nWARNING: So were these.\nMean NLL"));
  EXPECT_LE(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1, kSummaryLines);
}

TEST_F(ReadEvaluation, NamesTheKeyThatIsMissingOrWrong) {
  const std::string not_one = "not an evaluation as rse-eval writes it: ";
  expect_refused([](json& all) { all["protocol"].erase("step"); }, not_one + "'protocol.step' is missing");
  expect_refused([](json& all) { all["protocol"]["step"] = "4"; },
                 not_one + "protocol.step: '\"4\"', expected a whole number");
  expect_refused([](json& all) { all["protocol"]["lengths"][1] = 1.5; },
                 not_one + "protocol.lengths[1]: '1.5', expected a whole number");
  expect_refused(
      [](json& all) {
        all["replicas"][2]["seeds"] = {1, 2};
      },
      not_one + "replicas[2].seeds: '[1,2]', expected a list of one seed");
  expect_refused([](json& all) { all["costs"] = 7; }, not_one + "costs: '7', expected a list");
  expect_refused([](json& all) { all["decay"][0]["lambda"][1][0] = nullptr; },
                 not_one + "decay[0].lambda[1][0]: 'null', expected a number");
  expect_refused([](json& all) { all["protocol"]["masking"]["seed"] = -1; },
                 "expected a seed of the masks of at least 0");
  expect_refused([](json& all) { all["format"] = 2; }, "expected an evaluation of format 1");
}

TEST_F(ReadEvaluation, ComparesProtocolsButForWhereTheyRan) {
  const StoredEvaluation first = read_evaluation(file_);
  StoredEvaluation other = first;
  const auto set = [&](const std::string& wanted, const char* value) {
    for (auto& [key, text] : other.protocol) {
      if (key == wanted) text = value;
    }
  };
  for (const char* key : {"run", "device", "program", "batch_tokens", "data"}) set(key, "\"another\"");
  EXPECT_NO_THROW(check_same_protocol(first, "a", other, "b/evaluation.json"));
  set("beyond", "\"clamp\"");
  EXPECT_THAT([&] { check_same_protocol(first, "a", other, "b/evaluation.json"); },
              ThrowsUserError("b/evaluation.json: protocol.beyond: \"clamp\", expected \"\" as in a"));
}

}  // namespace
}  // namespace rse
