// Tests that results get names of their own and are never lost, whatever other processes do meanwhile.
#include "eval/evaluation_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <vector>

#include "core/logging.h"
#include "tests/support.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

class EvaluationFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    init_logging("warn");
    fs::create_directory(run_);
  }
  static void fill(const fs::path& folder) { std::ofstream(folder / "results.csv") << ::getpid(); }
  EvaluationFolder::Made make(const std::string& wanted = "") const {
    return EvaluationFolder(run_, wanted).make(fill);
  }
  // What a process left that is dead, or runs on: then its number is that of process 1.
  fs::path leave(const std::string& name, const std::vector<std::string>& files) const {
    fs::create_directories(folder_ / name);
    for (const std::string& file : files) std::ofstream(folder_ / name / file) << file;
    return folder_ / name;
  }
  std::string take_care(const std::string& wanted = "") const {
    testing::internal::CaptureStderr();
    EvaluationFolder(run_, wanted).take_care_of_leftovers();
    return testing::internal::GetCapturedStderr();
  }
  std::set<std::string> names(const fs::path& folder) const {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder)) found.insert(entry.path().filename().string());
    return found;
  }
  static std::string dead() { return "99999999"; }  // above the largest number of a process

  TemporaryFolder folder_;
  const fs::path run_ = folder_ / "run";
};

TEST_F(EvaluationFolderTest, TakesTheFirstFreeNumber) {
  EXPECT_EQ(make().folder, run_ / "evaluation-1");
  fs::create_directories(run_ / "evaluation-2");  // an empty folder is taken, too
  fs::create_directory_symlink("nowhere", run_ / "evaluation-3");
  EXPECT_EQ(make().folder, run_ / "evaluation-4");
  EXPECT_TRUE(fs::is_empty(run_ / "evaluation-2"));
}

TEST_F(EvaluationFolderTest, EightAtOnceKeepEightResults) {
  run_at_once(8, [&](int) {
    for (int n = 0; n < 10; ++n) make();
  });
  std::map<std::string, int> by_process;
  for (int n = 1; n <= 80; ++n)
    ++by_process[read_file(run_ / fmt::format("evaluation-{}", n) / "results.csv")];
  EXPECT_EQ(by_process.size(), 8u);
  for (const auto& [process, count] : by_process) EXPECT_EQ(count, 10) << process;
  EXPECT_EQ(names(run_).size(), 80u);
}

TEST_F(EvaluationFolderTest, AWantedFolderThatAppearsMeanwhileIsLeftAlone) {
  const fs::path wanted = folder_ / "new/late";
  const EvaluationFolder output(run_, wanted.string());
  const auto made = output.make([&](const fs::path& temporary) {
    fill(temporary);
    fs::create_directory(wanted);
    std::ofstream(wanted / "x") << "theirs";
    fs::create_directory(folder_ / "new/late-2");
  });
  EXPECT_FALSE(made.as_wanted);
  EXPECT_EQ(made.folder, folder_ / "new/late-3");
  EXPECT_TRUE(fs::exists(made.folder / "results.csv"));
  EXPECT_EQ(read_file(wanted / "x"), "theirs");
  EXPECT_EQ(names(folder_ / "new"), (std::set<std::string>{"late", "late-2", "late-3"}));
  EXPECT_TRUE(make((folder_ / "other").string()).as_wanted);
}

TEST_F(EvaluationFolderTest, AFailureWhileWritingLeavesNothing) {
  const EvaluationFolder output(run_, (folder_ / "new/place").string());
  EXPECT_THROW(output.make([](const fs::path& temporary) {
    fill(temporary);
    throw UserError("no space");
  }),
               UserError);
  EXPECT_EQ(names(folder_.path()), (std::set<std::string>{"run"}));
}

TEST_F(EvaluationFolderTest, CompleteResultsThatCannotBeNamedStayAndAreNamed) {
  if (::geteuid() == 0) GTEST_SKIP() << "the superuser may rename everything";
  const EvaluationFolder output(run_, "");
  EXPECT_THAT(
      [&] {
        output.make([&](const fs::path& temporary) {
          fill(temporary);
          fs::permissions(run_, fs::perms::owner_read | fs::perms::owner_exec);
        });
      },
      ThrowsUserError("the results are complete and stay in " + (run_ / ".evaluation-1.").string()));
  fs::permissions(run_, fs::perms::owner_all);
}

TEST_F(EvaluationFolderTest, UnfinishedResultsOfAKilledProcessAreRemoved) {
  leave("run/.evaluation-1." + dead() + ".tmp", {"results.csv", "results.jsonl.tmp.7"});
  leave("run/.evaluation-12." + dead() + ".tmp", {});
  const std::string log = take_care();
  EXPECT_THAT(log, testing::HasSubstr(".evaluation-1." + dead() + ".tmp: removed"));
  EXPECT_THAT(log, testing::HasSubstr(".evaluation-12." + dead() + ".tmp: removed"));
  EXPECT_TRUE(fs::is_empty(run_));
}

TEST_F(EvaluationFolderTest, CompleteResultsOfAKilledProcessGetAName) {
  fs::create_directory(run_ / "evaluation-1");
  leave("run/.evaluation-1." + dead() + ".tmp", {"results.csv", "results.jsonl", "evaluation.json"});
  EXPECT_THAT(take_care(), testing::HasSubstr("they are in " + (run_ / "evaluation-2").string() + " now"));
  EXPECT_EQ(read_file(run_ / "evaluation-2/evaluation.json"), "evaluation.json");
  EXPECT_EQ(names(run_), (std::set<std::string>{"evaluation-1", "evaluation-2"}));

  leave(".late." + dead() + ".tmp", {"evaluation.json"});
  take_care((folder_ / "late").string());
  EXPECT_TRUE(fs::exists(folder_ / "late-2/evaluation.json"));  // the name itself is for these results
}

TEST_F(EvaluationFolderTest, WhatIsInUseOrSomebodyElsesStays) {
  const std::vector<std::string> kept = {"run/.evaluation-1.1.tmp",  // process 1 runs
                                         "run/.evaluation-2." + dead() + ".tmp",
                                         "run/.evaluation-x." + dead() + ".tmp",
                                         "run/.evaluation-3.tmp",
                                         "run/evaluation-4." + dead() + ".tmp",
                                         ".late-2." + dead() + ".tmp"};
  for (const std::string& name : kept) leave(name, {"results.csv"});
  std::ofstream(run_ / (".evaluation-5." + dead() + ".tmp")) << "a file";
  const int locked = ::open((folder_ / kept[1]).c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(locked, LOCK_EX), 0);  // as a process on another machine holds it
  leave("run/.evaluation-6." + dead() + ".tmp", {"results.csv", "notes.txt"});
  const std::string log = take_care();
  ::close(locked);
  for (const std::string& name : kept) EXPECT_TRUE(fs::exists(folder_ / name / "results.csv")) << name;
  EXPECT_TRUE(fs::exists(run_ / (".evaluation-6." + dead() + ".tmp") / "notes.txt"));
  EXPECT_THAT(
      log, testing::HasSubstr(".evaluation-6." + dead() + ".tmp: looks like what a killed evaluation left"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
}

// In a container an evaluation may have the number of one that was killed.
TEST_F(EvaluationFolderTest, ALeftoverOfTheSameProcessNumberIsNoHindrance) {
  const std::string name = fmt::format("run/.evaluation-1.{}.tmp", ::getpid());
  leave(name, {"results.jsonl"});
  const auto made = make();
  EXPECT_EQ(made.folder, run_ / "evaluation-1");
  EXPECT_FALSE(fs::exists(made.folder / "results.jsonl"));
  take_care();
  EXPECT_FALSE(fs::exists(folder_ / name));
}

}  // namespace
}  // namespace rse
