// Disks that are full or read-only: the error names the file and the system's reason, what was there before
// is intact, and no temporary file is left.
//
// Such disks are small tmpfs mounts in a mount namespace of the command's own, which needs the right to make
// one.
#include <nlohmann/json.hpp>

#include "tests/apps/bad_input.h"

namespace rse {
namespace {

class Disk : public BadInput {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_ / "disk");
    const Outcome mount = on_disk("size=64k", "true");
    if (mount.exit_code != 0) GTEST_SKIP() << "no mount namespace here: " << mount.err;
  }

  // Runs `command` with a tmpfs of `options` at disk/; what lies in kept/ is copied there first, and what
  // lies there at the end to left/.
  Outcome on_disk(const std::string& options, const std::string& command) const {
    for (const char* name : {"kept", "left"}) std::filesystem::create_directories(folder_ / name);
    write("command.sh",
          fmt::format(
              "mount --make-rprivate / && mount -t tmpfs -o {} none disk && cp -a kept/. disk/ || exit 77\n"
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

  // Every file that COMPLETE of left/run/checkpoints/step-N names is there, with its bytes.
  void expect_complete(int step) const {
    const std::filesystem::path checkpoint = folder_ / fmt::format("left/run/checkpoints/step-{}", step);
    const auto mark = nlohmann::json::parse(read_file(checkpoint / "COMPLETE"));
    for (const auto& [name, expected] : mark["files"].items()) {
      const std::string content = read_file(checkpoint / name);
      EXPECT_EQ(hex64(xxh64(content.data(), content.size())), expected["xxh64"]) << name;
    }
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
  // One checkpoint of 4608 parameters or so takes about 80 KiB.
  expect_full(on_disk("size=220k", train("--output disk/run --set checkpoint.keep=5 --set train.steps=10")),
              "disk/run/checkpoints/");
  expect_complete(2);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "left/run/summary.json"));
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
  // The configuration takes the only page, and log.txt finds none.
  const Outcome outcome = on_disk(
      "size=4k",
      fmt::format("'{}' --config run.yaml --output disk --set logging.tensorboard=false", RSE_TRAIN_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err,
              testing::HasSubstr("error: cannot write log file disk/log.txt: No space left on device\n"));
}

TEST_F(Disk, FullFromTheStart) {
  write_run();
  write("kept/ballast", std::string(8192, 'x'));
  expect_full(on_disk("size=8k", train("--output disk/run")), "cannot write disk/run/config.yaml");
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
  expect_read_only(train("--output disk"), "disk/config.yaml");
  expect_read_only(data + "encode --tokenizer tokenizer.model --input text.txt --output disk/a.bin",
                   "disk/a.bin");
  expect_read_only(data + "prepare --train text.txt --vocab-size 330 --output disk/out",
                   "cannot make folder disk/out");
  expect_read_only(data + "train-tokenizer --input text.txt --vocab-size 330 --output disk/a.model",
                   "disk/a.model");
}

}  // namespace
}  // namespace rse
