// Tests disks that are full or read-only: the error names the file and the system's reason, what was there
// before is intact, and no temporary file is left.
//
// Such disks are small tmpfs mounts in a mount namespace of their own, which a user must have the right to
// make.
#include <nlohmann/json.hpp>

#include "tests/apps/bad_input.h"

namespace rse {
namespace {

class Disk : public BadInput {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_ / "disk");
    const Outcome mount = on_disk("size=64k", "true");
    if (mount.exit_code != 0) GTEST_SKIP() << "this user cannot make a mount namespace: " << mount.err;
  }

  // Runs `command` with a tmpfs of `options` at disk/. What lies there at the end is copied to left/.
  Outcome on_disk(const std::string& options, const std::string& command) const {
    std::filesystem::create_directories(folder_ / "left");
    write("command.sh", fmt::format("mount --make-rprivate / && mount -t tmpfs -o {} none disk || exit 77\n"
                                    "{}\nstatus=$?\ncp -a disk/. left/\nexit $status\n",
                                    options, command));
    return shell("unshare -m sh command.sh");
  }

  std::string train(const std::string& arguments) const {
    return fmt::format("'{}' --log-level error --config run.yaml {}", RSE_TRAIN_PROGRAM, arguments);
  }

  void expect_full(const Outcome& outcome, const std::string& file) const {
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_THAT(outcome.err, testing::AllOf(testing::HasSubstr(": error: "), testing::HasSubstr(file),
                                            testing::HasSubstr("No space left on device")));
    for (const auto& [path, what] : listing(folder_ / "left")) {
      EXPECT_THAT(std::filesystem::path(path).filename().string(), testing::Not(testing::HasSubstr("tmp")));
    }
  }

  // Returns how many checkpoints lie in left/run, and expects each to hold every file that its COMPLETE
  // names, with the right bytes.
  int complete_checkpoints() const {
    const std::filesystem::path checkpoints = folder_ / "left/run/checkpoints";
    if (!std::filesystem::exists(checkpoints)) return 0;
    int count = 0;
    for (const auto& checkpoint : std::filesystem::directory_iterator(checkpoints)) {
      const auto mark = nlohmann::json::parse(read_file(checkpoint.path() / "COMPLETE"));
      for (const auto& [name, expected] : mark["files"].items()) {
        const std::string content = read_file(checkpoint.path() / name);
        EXPECT_EQ(hex64(xxh64(content.data(), content.size())), expected["xxh64"].get<std::string>())
            << checkpoint.path() << ", file " << name;
      }
      ++count;
    }
    return count;
  }
};

TEST_F(Disk, FullWhileATokenFileIsWritten) {
  write_tokenizer();
  write("long.txt", toy_text(4, 100000));
  expect_full(
      on_disk("size=300k",
              fmt::format("'{}' --log-level error encode --tokenizer tokenizer.model --input long.txt "
                          "--output disk/a.bin",
                          RSE_DATA_PROGRAM)),
      "cannot write disk/a.bin");
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "left"));
}

TEST_F(Disk, FullWhileACorpusIsPrepared) {
  write("long.txt", toy_text(4, 100000));
  expect_full(on_disk("size=300k",
                      fmt::format("'{}' --log-level error prepare --train long.txt --vocab-size 330 --output "
                                  "disk/out",
                                  RSE_DATA_PROGRAM)),
              "cannot write disk/out/");
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "left"));
}

TEST_F(Disk, FullWhileACheckpointIsSaved) {
  write_run();
  // Another process fills the disk once a checkpoint exists, which the check at the start cannot foresee.
  expect_full(on_disk("size=1m",
                      "(until [ -e disk/run/checkpoints/step-2/COMPLETE ]; do sleep 0.01; done; "
                      "cat /dev/zero >disk/filler 2>/dev/null) &\n" +
                          train("--output disk/run --set train.steps=1000000 --set logging.every=1000000 "
                                "--set logging.tensorboard=false --set checkpoint.keep=2")),
              "disk/run/checkpoints/");
  EXPECT_GE(complete_checkpoints(), 1);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "left/run/summary.json"));
}

TEST_F(Disk, WithoutRoomForOneMoreFile) {
  write_run();
  int most = 0;
  for (int files = 2; files <= 23; files += 3) {  // a run makes 24 files and folders
    remove_tree(folder_ / "left");
    expect_full(on_disk(fmt::format("size=8m,nr_inodes={}", files), train("--output disk/run")), "disk/run/");
    most = std::max(most, complete_checkpoints());
  }
  EXPECT_EQ(most, 1);
}

TEST_F(Disk, FullWhileMetricsAreWritten) {
  write_run();
  expect_full(on_disk("size=200k", train("--output disk/run --set checkpoint.every=0 --set train.steps=20000 "
                                         "--set logging.every=100 --set logging.tensorboard=false")),
              "cannot write disk/run/metrics.jsonl");
}

TEST_F(Disk, FullWhileEventsAreWritten) {
  write_run();
  expect_full(on_disk("size=200k", train("--output disk/run --set checkpoint.every=0 --set train.steps=20000 "
                                         "--set logging.every=10")),
              "cannot write disk/run/");
}

TEST_F(Disk, FullWhileTheLogIsWritten) {
  write_run();
  // The folder, the lock and the configuration use all inodes, so that none is left for log.txt.
  const Outcome outcome = on_disk(
      "size=8m,nr_inodes=3",
      fmt::format("'{}' --config run.yaml --output disk --set logging.tensorboard=false", RSE_TRAIN_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err,
              testing::HasSubstr("error: cannot write log file disk/log.txt: No space left on device\n"));
}

TEST_F(Disk, FullFromTheStart) {
  write_run();
  expect_full(on_disk("size=8m,nr_inodes=3", train("--output disk/run")),
              "cannot write disk/run/config.yaml");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "left/run"));
}

TEST_F(Disk, ReadOnly) {
  write_run();
  write_tokenizer();
  const auto expect_read_only = [&](const std::string& command, const std::string& file) {
    const Outcome outcome = on_disk("size=1m", "mount -o remount,ro disk\n" + command);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_THAT(outcome.err,
                testing::AllOf(testing::HasSubstr(file), testing::HasSubstr("Read-only file system")));
    EXPECT_TRUE(std::filesystem::is_empty(folder_ / "left"));
  };
  const std::string data = fmt::format("'{}' --log-level error ", RSE_DATA_PROGRAM);
  expect_read_only(train("--output disk/run"), "cannot make folder disk/run");
  expect_read_only(train("--output disk"), "disk/run.lock");
  expect_read_only(data + "encode --tokenizer tokenizer.model --input text.txt --output disk/a.bin",
                   "disk/a.bin");
  expect_read_only(data + "prepare --train text.txt --vocab-size 330 --output disk/out",
                   "cannot make folder disk/out");
  expect_read_only(data + "train-tokenizer --input text.txt --vocab-size 330 --output disk/a.model",
                   "disk/a.model");
}

}  // namespace
}  // namespace rse
