// Tests folders that are made for output while other processes make and remove folders beside them.
#include "core/new_folder.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <set>

#include "core/atomic_folder.h"
#include "core/folder_lock.h"
#include "tests/support.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

fs::path filled(const fs::path& folder) {
  fs::create_directory(folder);
  std::ofstream(folder / "file") << folder.filename().string();
  return folder;
}

TEST(RenameToNew, GivesANameThatIsFreeAndNoOther) {
  for (const auto rename : {rename_to_new, rename_over_claim}) {
    const TemporaryFolder folder;
    const fs::path made = filled(folder / "a");
    EXPECT_TRUE(rename(made, folder / "b"));
    EXPECT_EQ(read_file(folder / "b/file"), "a");
    EXPECT_FALSE(fs::exists(made));

    filled(folder / "c");
    fs::create_directory(folder / "empty");
    std::ofstream(folder / "plain") << "mine";
    fs::create_directory_symlink("nowhere", folder / "dangling");
    for (const char* taken : {"b", "empty", "plain", "dangling"}) {
      EXPECT_FALSE(rename(folder / "c", folder / taken)) << taken;
    }
    EXPECT_EQ(read_file(folder / "b/file"), "a");
    EXPECT_EQ(read_file(folder / "plain"), "mine");
    EXPECT_TRUE(fs::is_empty(folder / "empty"));
    EXPECT_EQ(read_file(folder / "c/file"), "c");
    EXPECT_THAT([&] { rename(folder / "c", folder / "none/d"); }, ThrowsUserError("cannot rename "));
    EXPECT_THAT([&] { rename(folder / "none", folder / "d"); }, ThrowsUserError("cannot rename "));
    EXPECT_FALSE(fs::exists(folder / "d"));
  }
}

// Eight processes want names from 1 on at once: each gets one, and nothing is lost.
TEST(RenameToNew, ManyProcessesGetAsManyNames) {
  for (const auto rename : {rename_to_new, rename_over_claim}) {
    const TemporaryFolder folder;
    constexpr int kProcesses = 8, kEach = 20;
    run_at_once(kProcesses, [&](int process) {
      for (int i = 0; i < kEach; ++i) {
        const fs::path made = filled(folder / fmt::format("{}.{}.tmp", process, i));
        for (int n = 1; !rename(made, folder / std::to_string(n));) ++n;
      }
    });
    std::set<std::string> contents;
    for (int n = 1; n <= kProcesses * kEach; ++n)
      contents.insert(read_file(folder / std::to_string(n) / "file"));
    EXPECT_EQ(contents.size(), static_cast<size_t>(kProcesses * kEach));
  }
}

TEST(AtomicFolder, ReplacesNoFolderNotEvenAnEmptyOne) {
  const TemporaryFolder folder;
  const auto make = [&] {
    make_folder_atomically(folder / "a", folder / ".a.tmp",
                           [](const fs::path& made) { std::ofstream(made / "file") << "content"; });
  };
  make();
  EXPECT_EQ(read_file(folder / "a/file"), "content");
  fs::remove(folder / "a/file");
  EXPECT_THAT(make, ThrowsUserError("a: File exists"));
  EXPECT_TRUE(fs::is_empty(folder / "a"));
  EXPECT_FALSE(fs::exists(folder / ".a.tmp"));
}

TEST(FolderLock, IsHeldByOneProcessUntilItEnds) {
  const TemporaryFolder folder;
  EXPECT_EQ(FolderLock(folder / "none").state(), FolderLock::State::kTaken);
  {
    const FolderLock lock(folder.path());
    EXPECT_EQ(lock.state(), FolderLock::State::kHeld);
    run_at_once(1, [&](int) {
      if (FolderLock(folder.path()).state() != FolderLock::State::kTaken) _exit(1);
    });
  }
  run_at_once(1, [&](int) {
    const FolderLock lock(folder.path());
    _exit(lock.state() == FolderLock::State::kHeld ? 0 : 1);  // without its destructor
  });
  EXPECT_EQ(FolderLock(folder.path()).state(), FolderLock::State::kHeld);
}

// Others make the parent and take it away again, as a process does that fails.
TEST(NewFolder, AParentThatVanishesIsMadeAgain) {
  const TemporaryFolder folder;
  const pid_t other = fork();
  if (other == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
      ::mkdir((folder / "sweep").c_str(), 0777);
      ::rmdir((folder / "sweep").c_str());
      ::usleep(20);  // so that the folder is not locked all the time
    }
  }
  for (int i = 0; i < 30; ++i) {
    NewFolder made(folder / "sweep/run");
    EXPECT_TRUE(fs::is_directory(folder / "sweep/run"));
  }
  kill(other, SIGKILL);
  waitpid(other, nullptr, 0);
}

}  // namespace
}  // namespace rse
