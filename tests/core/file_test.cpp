#include "core/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "core/check.h"
#include "tests/support.h"

namespace rse {
namespace {

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const TemporaryFolder folder;
  const auto path = folder / "value";
  {
    AtomicFile file(path);
    file.write("half", 4);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  AtomicFile file(path);
  file.write("hello", 5);
  file.write_at(0, "J", 1);
  file.write("!", 1);
  file.commit();
  EXPECT_EQ(read_file(path), "Jello!");
}

TEST(AtomicFile, ReplacesTheTargetOfALink) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "elsewhere");
  write_file_atomically(folder / "elsewhere/target", "old");
  std::filesystem::create_symlink("elsewhere/target", folder / "link");
  std::filesystem::create_symlink(folder / "link", folder / "link2");
  std::filesystem::create_symlink("elsewhere/absent", folder / "dangling");
  for (const char* link : {"link", "link2", "dangling"}) {
    write_file_atomically(folder / link, link);
    EXPECT_TRUE(std::filesystem::is_symlink(folder / link));
    EXPECT_EQ(read_file(folder / link), link);
  }
  EXPECT_EQ(read_file(folder / "elsewhere/target"), "link2");
  EXPECT_EQ(read_file(folder / "elsewhere/absent"), "dangling");
  EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(folder / "elsewhere/absent")));
}

TEST(AtomicFile, RefusesToReplaceWhatIsNoFile) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("pipe", folder / "link");
  std::filesystem::create_symlink("loop", folder / "loop");
  for (const char* name : {"pipe", "link"}) {
    EXPECT_THAT([&] { AtomicFile file(folder / name); }, ThrowsUserError("not a regular file"));
  }
  EXPECT_THAT([&] { AtomicFile file(folder / "loop"); },
              ThrowsUserError("Too many levels of symbolic links"));
  EXPECT_THAT([] { AtomicFile file("/dev/null"); },
              ThrowsUserError("cannot write /dev/null: not a regular file"));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(AtomicFile, NamesAFolderThatDoesNotExist) {
  EXPECT_THAT([] { AtomicFile file("/nonexistent/x"); },
              ThrowsUserError("cannot write /nonexistent/x: No such file"));
}

TEST(MappedFile, ShowsTheBytesAndRefusesFolders) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "bytes", "abc");
  const MappedFile mapped(folder / "bytes");
  ASSERT_EQ(mapped.size(), 3U);
  EXPECT_EQ(std::memcmp(mapped.data(), "abc", 3), 0);
  write_file_atomically(folder / "empty", "");
  EXPECT_EQ(MappedFile(folder / "empty").size(), 0U);
  EXPECT_THAT([&] { MappedFile file(folder.path()); }, ThrowsUserError("not a regular file"));
  EXPECT_THAT([&] { MappedFile file(folder / "absent"); }, ThrowsUserError("No such file"));
}

TEST(RemoveTree, RemovesFilesFoldersAndLinksButNotWhatTheyPointTo) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "tree/inner");
  write_file_atomically(folder / "tree/inner/file", "x");
  write_file_atomically(folder / "kept", "y");
  std::filesystem::create_symlink(folder / "kept", folder / "tree/link");
  remove_tree(folder / "tree");
  EXPECT_FALSE(std::filesystem::exists(folder / "tree"));
  EXPECT_EQ(read_file(folder / "kept"), "y");
  remove_tree(folder / "absent");
}

TEST(NearestWord, FindsMisspellingsAndNothingElse) {
  EXPECT_EQ(nearest_word("learning_rte", {"learning_rate", "weight_decay"}), "learning_rate");
  EXPECT_EQ(nearest_word("xyz", {"learning_rate", "weight_decay"}), "");
}

TEST(RunProgram, MapsErrorsToExitCodes) {
  EXPECT_EQ(run_program("p", [] { return kExitOk; }), 0);
  EXPECT_EQ(run_program("p", []() -> int { throw_user_error("bad {}", 1); }), 2);
  EXPECT_EQ(run_program("p",
                        []() -> int {
                          RSE_ASSERT(1 == 2, "never");
                          return 0;
                        }),
            1);
}

TEST(File, TemporaryNeighboursAreKnownByTheirNames) {
  const TemporaryFolder folder;
  const AtomicFile file(folder / "a.json");
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    EXPECT_TRUE(is_temporary_name(entry.path().filename().string())) << entry.path();
  }
  for (const char* name : {"a.json", "a.tmp.", "a.tmp.txt", "a.tmp.1x", ".step-3.tmp"}) {
    EXPECT_FALSE(is_temporary_name(name)) << name;
  }
}

TEST(File, CopiesAFileOrItsBeginning) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "a", "four more");
  copy_file_atomically(folder / "a", folder / "b");
  EXPECT_EQ(read_file(folder / "b"), "four more");
  copy_file_atomically(folder / "a", folder / "b", 4);
  EXPECT_EQ(read_file(folder / "b"), "four");
  EXPECT_THAT([&] { copy_file_atomically(folder / "a", folder / "c", 10); },
              ThrowsUserError("a: 9 bytes, expected at least 10"));
  EXPECT_FALSE(std::filesystem::exists(folder / "c"));
}

}  // namespace
}  // namespace rse
