// Tests rse-data while its tokenizer trains, which SentencePiece does not let anybody interrupt: a signal
// ends it with exit code 3, and neither files nor folders stay. Tests threads that cannot start, too.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/apps/bad_input.h"

namespace rse {
namespace {

class InterruptedData : public BadInput {
 protected:
  // Runs "rse-data ARGUMENTS 2>err" and returns its status once it was sent `signal` in the middle of
  // training. ignored: the signal is ignored from the beginning, so a SIGTERM follows it.
  int interrupt(const std::string& arguments, int signal, bool ignored = false) {
    const pid_t child = fork();
    if (child == 0) {
      if (ignored) ::signal(signal, SIG_IGN);
      const std::string command =
          fmt::format("cd '{}' && exec '{}' {} 2>err", folder_.path().string(), RSE_DATA_PROGRAM, arguments);
      execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
      _exit(127);
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    const auto is_training = [&] {
      return std::filesystem::exists(folder_ / "err") &&
             read_file(folder_ / "err").find("training a tokenizer") != std::string::npos;
    };
    while (!is_training() && std::chrono::steady_clock::now() < deadline) pause_shortly();
    EXPECT_TRUE(is_training());
    pause_shortly();
    kill(child, signal);
    int status = 0;
    if (ignored) {
      for (int i = 0; i < 10; ++i) pause_shortly();
      EXPECT_EQ(waitpid(child, &status, WNOHANG), 0) << "it ended by a signal that it had to ignore";
      kill(child, SIGTERM);
    }
    waitpid(child, &status, 0);
    return status;
  }

  // One line of some megabytes, on which SentencePiece takes many seconds.
  void write_text() const {
    std::string text;
    for (uint64_t seed = 1; text.size() < (size_t{4} << 20); ++seed) text += toy_text(seed, 40000);
    std::replace(text.begin(), text.end(), '\n', ' ');
    write("long.txt", text);
  }

  void expect_stopped(int status) const {
    ASSERT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 3) << read_file(folder_ / "err");
    EXPECT_THAT(read_file(folder_ / "err"),
                testing::HasSubstr("SIGTERM received: unfinished files were removed\n"));
    std::vector<std::string> left;
    for (const auto& [path, what] : listing(folder_.path())) left.push_back(path);
    EXPECT_THAT(left,
                testing::UnorderedElementsAre((folder_ / "err").string(), (folder_ / "long.txt").string()));
  }

 private:
  static void pause_shortly() { std::this_thread::sleep_for(std::chrono::milliseconds(50)); }
};

TEST_F(InterruptedData, PrepareRemovesTheFoldersThatItMade) {
  write_text();
  expect_stopped(interrupt("prepare --train long.txt --vocab-size 330 --output s/t/u", SIGTERM));
}

TEST_F(InterruptedData, TrainTokenizerLeavesNoFile) {
  write_text();
  expect_stopped(interrupt("train-tokenizer --input long.txt --vocab-size 330 --output m.model", SIGTERM));
}

// As in a background job of a script, where Ctrl-C is for others.
TEST_F(InterruptedData, AnInterruptThatTheParentIgnoresDoesNothing) {
  write_text();
  expect_stopped(
      interrupt("prepare --train long.txt --vocab-size 330 --output s/t/u", SIGINT, /*ignored=*/true));
}

TEST_F(BadInput, ThreadsThatCannotStart) {
  write_tokenizer();
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer needs more addresses than the limit leaves";
#endif
  // 256 stacks of 16 MiB do not fit into 2 GiB of addresses; the rest of the program does.
  expect_user_error(
      RSE_DATA_PROGRAM,
      "--log-level error encode --tokenizer tokenizer.model --input text.txt --threads 256 --output out",
      {"cannot start a thread to encode text", "of --threads 256", "ulimit -u, -v"},
      "ulimit -s 16384; ulimit -v 2000000;");
}

TEST_F(BadInput, ANumberWithALeadingZeroIsDecimal) {
  write_tokenizer();
  const Outcome outcome = shell(fmt::format(
      "'{}' train-tokenizer --input text.txt --vocab-size 0330 --output m.model", RSE_DATA_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;  // 330 in octal is 216, which is too small
  EXPECT_THAT(outcome.err, testing::HasSubstr("330 pieces"));
}

// CLI11 takes "[a]" for a list with one element.
TEST_F(BadInput, ANameInBracketsIsOneFile) {
  write_tokenizer();
  write("[a]", read_file(folder_ / "text.txt"));
  const Outcome outcome = shell(
      fmt::format("'{0}' encode --tokenizer tokenizer.model --input [a] --output '[b]' && '{0}' info '[b]'",
                  RSE_DATA_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

}  // namespace
}  // namespace rse
