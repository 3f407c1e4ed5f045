// Tests that what the programs announce would survive a power failure: every file and every folder's entry is
// synced, in the right order. The calls are observed by sync_log.cpp, which is preloaded.
#include <nlohmann/json.hpp>

#include "tests/apps/bad_input.h"
#include "tests/apps/sync_events.h"

namespace rse {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

// A checkpoint of one file: written, synced, renamed, and the folder synced; then it is announced.
const std::vector<SyncEvent> kGood = {{"sync", 11, "run/.step-2.tmp/weights", "4:99"},
                                      {"sync", 10, "run/.step-2.tmp", "weights:11,"},
                                      {"before", 10, "run/.step-2.tmp", "weights:11,"},
                                      {"before", 11, "run/.step-2.tmp/weights", "4:99"},
                                      {"rename", 10, "run/.step-2.tmp", "run/step-2"},
                                      {"sync", 9, "run", "step-2:10,"},
                                      {"sync", 8, ".", "run:9,"},
                                      {"say", 0, "checkpoint run/step-2", ""},
                                      {"end", 8, ".", "run:9,"},
                                      {"end", 9, "run", "step-2:10,"},
                                      {"end", 10, "run/step-2", "weights:11,"},
                                      {"end", 11, "run/step-2/weights", "4:99"}};

TEST(SyncRules, HoldForAGoodOrder) {
  const SyncRules rules(kGood);
  EXPECT_THAT(rules.broken_renames(), IsEmpty());
  EXPECT_THAT(rules.lost("run/step-2/weights"), IsEmpty());
  EXPECT_THAT(rules.files(), testing::ElementsAre("run/step-2/weights"));
}

TEST(SyncRules, EachMissingSyncIsFound) {
  const auto without = [](size_t left_out) {
    std::vector<SyncEvent> events = kGood;
    events.erase(events.begin() + static_cast<std::ptrdiff_t>(left_out));
    return SyncRules(events);
  };
  EXPECT_THAT(without(0).broken_renames(),
              Contains("run/.step-2.tmp/weights is renamed and was never synced"));
  EXPECT_THAT(without(0).lost("run/step-2/weights"), Contains("run/step-2/weights is not synced as it is"));
  EXPECT_THAT(without(1).broken_renames(), Contains("run/.step-2.tmp is renamed and was never synced"));
  EXPECT_THAT(without(5).broken_renames(), Contains("run/step-2: its folder is not synced after the rename"));
  EXPECT_THAT(without(6).lost("run/step-2/weights"), Contains(". is not synced with run in it"));
}

TEST(SyncRules, AWriteAfterTheSyncAndALateSyncAreFound) {
  std::vector<SyncEvent> events = kGood;
  events[3].detail = "4:98";  // another content when it is renamed
  EXPECT_THAT(SyncRules(events).broken_renames(),
              Contains("run/.step-2.tmp/weights is renamed and was changed after its sync"));
  events = kGood;
  std::swap(events[5], events[7]);  // announced before the folder is synced
  EXPECT_THAT(SyncRules(events).broken_renames(), Contains(HasSubstr("its folder is not synced")));
}

class Durability : public BadInput {
 protected:
  // Runs a program under the log, and expects it to end well and to keep the rules. Returns the events of all
  // programs so far.
  SyncRules run(const std::string& program, const std::string& arguments) const {
    const std::filesystem::path log = log_ / "events";
    const Outcome outcome = shell(
        fmt::format("ASAN_OPTIONS=verify_asan_link_order=0 RSE_SYNC_LOG='{}' RSE_SYNC_ROOT=\"$(pwd -P)\" "
                    "LD_PRELOAD='{}' '{}' {}",
                    log.string(), RSE_SYNC_LOG_LIBRARY, program, arguments));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    SyncRules rules(read_sync_events(read_file(log)));
    EXPECT_THAT(rules.broken_renames(), IsEmpty()) << arguments;
    return rules;
  }

  SyncRules train(const std::string& arguments) const {
    return run(RSE_TRAIN_PROGRAM, "--config run.yaml --set logging.every=2 " + arguments);
  }

  // Expects every file below `folder` to be durable, but for those that only tell a person what happened.
  static void expect_durable(const SyncRules& rules, const std::string& folder, size_t least_files) {
    size_t files = 0;
    for (const std::string& file : rules.files()) {
      const bool told = file.ends_with("log.txt") || file.ends_with("run.lock") ||
                        file.find("/tensorboard/") != std::string::npos;
      if (!file.starts_with(folder + "/") || told) continue;
      ++files;
      EXPECT_THAT(rules.lost(file), IsEmpty());
    }
    EXPECT_GE(files, least_files);
  }

 private:
  TemporaryFolder log_;
};

TEST_F(Durability, OfARunWithItsCheckpointsMetricsAndSummary) {
  write_run();
  const SyncRules rules = train("--output new/run --set checkpoint.keep=1 --set checkpoint.keep_best=false");
  expect_durable(rules, "new/run", 9);  // configuration, metrics, summary, and six files of a checkpoint
}

// Whoever reads trainer.json finds the metrics that it counts on.
TEST_F(Durability, MetricsComeBeforeTheCheckpointThatCountsThem) {
  write_run();
  const SyncRules rules = train("--output run --set checkpoint.keep=5");
  const std::vector<SyncEvent>& events = rules.events();
  for (const char* step : {"step-2", "step-4"}) {
    const std::string folder = std::string("run/checkpoints/") + step;
    const auto state = nlohmann::json::parse(read_file(folder_ / (folder + "/trainer.json")));
    const std::string bytes = std::to_string(state["metrics_bytes"].get<int64_t>()) + ":";
    bool synced = false;
    size_t i = 0;
    for (; i < events.size() && !(events[i].kind == "rename" && events[i].detail == folder); ++i) {
      synced |= events[i].kind == "sync" && events[i].path == "run/metrics.jsonl" &&
                events[i].detail.starts_with(bytes);
    }
    EXPECT_LT(i, events.size()) << step;
    EXPECT_TRUE(synced) << step;
  }
}

// At every moment after the first was saved, a complete checkpoint is on the disk, and what is half removed does
// not look complete: it loses its name or its mark in one step, which is synced before its files go.
TEST_F(Durability, AnOldCheckpointGoesAfterTheNewOneAndStopsCountingAtOnce) {
  write_run();
  const SyncRules rules = train("--output run --set checkpoint.keep=1 --set checkpoint.keep_best=false");
  const std::vector<SyncEvent>& events = rules.events();
  const std::string folder = "run/checkpoints", old = folder + "/step-2";
  const size_t renamed = rules.find("rename", old);
  const size_t gone = std::min(renamed, rules.find("remove", old + "/COMPLETE"));
  ASSERT_LT(gone, events.size());
  size_t newer = 0;
  while (newer < gone && events[newer].detail != folder + "/step-4") ++newer;
  ASSERT_LT(newer, gone) << "the old checkpoint goes before the new one has its name";
  EXPECT_LT(rules.find("sync", folder, newer), gone);
  const bool by_name = gone == renamed;
  const size_t synced = rules.find("sync", by_name ? folder : old, gone);
  ASSERT_LT(synced, events.size());
  EXPECT_THAT("," + events[synced].detail, testing::Not(HasSubstr(by_name ? ",step-2:" : "COMPLETE:")));
  const std::string where = by_name ? events[gone].detail : old;
  size_t removed = 0;
  for (size_t i = 0; i < events.size(); ++i) {
    if (events[i].kind != "remove" || !events[i].path.starts_with(where) || i == gone) continue;
    EXPECT_GT(i, synced) << events[i].path;
    ++removed;
  }
  EXPECT_EQ(removed, by_name ? 7u : 6u);  // five files, the mark and the folder
}

TEST_F(Durability, OfAResumedRunAndOfABranch) {
  write_run();
  train("--output run --set checkpoint.keep=5");
  expect_durable(train("--output run --resume --set train.steps=6 --set checkpoint.keep=5"), "run", 21);
  const SyncRules branch =
      run(RSE_TRAIN_PROGRAM, "--resume run/checkpoints/step-2 --output deep/er/branch --set train.steps=6");
  expect_durable(branch, "deep", 15);
}

TEST_F(Durability, OfTokenizersAndTokenFiles) {
  write_tokenizer();
  write("valid.txt", toy_text(5, 2000));
  expect_durable(
      run(RSE_DATA_PROGRAM, "prepare --train text.txt --valid valid.txt --vocab-size 330 --output new/data"),
      "new/data", 3);
  run(RSE_DATA_PROGRAM, "encode --tokenizer tokenizer.model --input valid.txt --output new/data/more.bin");
  expect_durable(
      run(RSE_DATA_PROGRAM, "train-tokenizer --input text.txt --vocab-size 330 --output new/own.model"),
      "new", 5);
}

TEST_F(Durability, OfEvaluations) {
  write_run();
  train("--output run");
  const std::string common =
      "--data valid.bin --device cpu --threads 1 --no-report --save-targets --beyond tile";
  const SyncRules own = run(RSE_EVAL_PROGRAM, "--run run --lengths 32,64 " + common);
  expect_durable(own, "run/evaluation-1", 4);
  const SyncRules placed =
      run(RSE_EVAL_PROGRAM, "--run run --lengths 32,64 --output new/deep/place " + common);
  expect_durable(placed, "new", 4);
}

}  // namespace
}  // namespace rse
