// Runs the program rse-data as its users do.
#include "tests/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "data/token_file.h"
#include "data/tokenizer.h"
#include "tests/data/toy_text.h"

namespace rse {
namespace {

class DataProgram : public ProgramTest {
 protected:
  Outcome run(const std::string& arguments) const {
    return shell(fmt::format("'{}' {}", RSE_DATA_PROGRAM, arguments));
  }
};

TEST_F(DataProgram, PrepareAndTheStepsAloneMakeTheSameFiles) {
  const std::string train = write("train.txt", toy_text(6, 20000));
  const std::string test = write("test.jsonl", "{\"body\": \"kato miren\"}\n");
  const std::string out = (folder_ / "out").string();
  const Outcome all = run(fmt::format(
      "prepare --train {} --test {} --field body --vocab-size 330 --output {}", train, test, out));
  ASSERT_EQ(all.exit_code, 0) << all.err;
  ASSERT_EQ(run(fmt::format("train-tokenizer --input {} --vocab-size 330 --output {}/b.model", train, out))
                .exit_code,
            0);
  ASSERT_EQ(run(fmt::format("encode --input {} --tokenizer {}/b.model --threads 3 --output {}/b.bin", train,
                            out, out))
                .exit_code,
            0);
  EXPECT_EQ(read_file(out + "/tokenizer.model"), read_file(out + "/b.model"));
  EXPECT_EQ(read_file(out + "/train.bin"), read_file(out + "/b.bin"));
  const Outcome info = run(fmt::format("info --verify {}/test.bin", out));
  EXPECT_EQ(info.exit_code, 0);
  const TokenFile file(out + "/test.bin");
  EXPECT_THAT(info.out, testing::HasSubstr("documents: 1\n"));
  EXPECT_THAT(info.out, testing::HasSubstr(fmt::format("tokens: {} (2 bytes each)", file.tokens())));
  EXPECT_THAT(info.out, testing::HasSubstr("checksums: right\n"));
}

// The text comes through a pipe, so that the program is known to be in the middle of its file when the signal
// arrives.
TEST_F(DataProgram, ATerminatedEncodingLeavesNothing) {
  write("toy.model", toy_tokenizer().model());
  std::filesystem::create_directory(folder_ / "out");
  const std::string pipe = (folder_ / "pipe.txt").string();
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const std::string model = (folder_ / "toy.model").string(), output = (folder_ / "out/a.bin").string();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    execl(RSE_DATA_PROGRAM, "rse-data", "encode", "--log-level", "error", "--input", pipe.c_str(),
          "--tokenizer", model.c_str(), "--output", output.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  const int writer = open(pipe.c_str(), O_WRONLY);  // returns once the program reads the pipe
  ASSERT_GE(writer, 0);
  EXPECT_FALSE(std::filesystem::is_empty(folder_ / "out"));  // the temporary file
  EXPECT_EQ(kill(child, SIGTERM), 0);
  const std::string text = toy_text(6, 1000);
  EXPECT_EQ(::write(writer, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  close(writer);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), kExitInterrupted);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "out"));
}

}  // namespace
}  // namespace rse
