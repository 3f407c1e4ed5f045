// Runs the program rse-data as its users do.
#include "tests/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/folder_lock.h"
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
  const std::string manifest = read_file(out + "/manifest.json");
  EXPECT_THAT(manifest,
              testing::AllOf(testing::HasSubstr("\"train.bin\""), testing::HasSubstr("\"test.bin\""),
                             testing::HasSubstr(train), testing::HasSubstr(test)));
  EXPECT_THAT(read_file(out + "/b.model.manifest.json"), testing::HasSubstr(train));
  const Outcome info = run(fmt::format("info --verify {}/test.bin", out));
  EXPECT_EQ(info.exit_code, 0);
  const TokenFile file(out + "/test.bin");
  EXPECT_THAT(info.out, testing::HasSubstr("documents: 1\n"));
  EXPECT_THAT(info.out, testing::HasSubstr(fmt::format("tokens: {} (2 bytes each)", file.tokens())));
  EXPECT_THAT(info.out, testing::HasSubstr("checksums: right\n"));
}

TEST_F(DataProgram, SaysWhatFilesWereReadAsAndWhatWasLeftOut) {
  write("toy.model", toy_tokenizer().model());
  write("f/a.txt", "kato\n");
  write("f/b.json", "{\"text\":\"miren\\ud83d\"}\n{\"text\":\"\\u3000\"}\n");
  write("f/part-0", "{\"text\":\"solva\"}\n");
  write("f/.hidden.txt", "du\n");
  write("f/more.html", "du\n");
  std::filesystem::create_directory_symlink("..", folder_ / "f/link");
  const Outcome outcome = run("encode --input f --tokenizer toy.model --output x.bin");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* line : {"left out, hidden (the name begins with a dot): 1 (f/.hidden.txt)",
                           "left out, link to a folder: 1 (f/link)",
                           "left out, ending that is not one of a corpus file: 1 (f/more.html)",
                           "3 files taken", "f/a.txt: read as text\n", "f/b.json: read as JSON lines\n",
                           "f/part-0: read as JSON lines (by content)\n", "1 blank documents left out",
                           "1 escapes (halves of surrogate pairs, \\u0000) became U+FFFD"}) {
    EXPECT_THAT(outcome.err, testing::HasSubstr(line));
  }
  const std::string manifest = read_file(folder_ / "x.bin.manifest.json");
  EXPECT_THAT(manifest, testing::HasSubstr(hex64(TokenFile(folder_ / "x.bin").fingerprint())));
  EXPECT_THAT(manifest, testing::HasSubstr("f/part-0"));
}

TEST_F(DataProgram, ANameCannotBreakALineOfTheLog) {
  write("f/a\nerror: all is lost.txt", "kato\n");
  write("f/b.txt", "kato\n");
  write("toy.model", toy_tokenizer().model());
  const Outcome outcome = run("encode --input f --tokenizer toy.model --output 'x\ny.bin'");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, testing::HasSubstr("f/a\\x0Aerror: all is lost.txt: read as text\n"));
  EXPECT_THAT(outcome.err, testing::Not(testing::HasSubstr("\nerror")));
  EXPECT_THAT(outcome.err, testing::Not(testing::HasSubstr("\ny.bin")));
  EXPECT_THAT(run("info 'x\ny.bin'").out, testing::HasSubstr("file: x\\x0Ay.bin\n"));
}

TEST_F(DataProgram, TextForAClosedOutputIsAnError) {
  write("toy.model", toy_tokenizer().model());
  write("a.txt", "kato\n");
  const Outcome quiet = run("encode --input a.txt --tokenizer toy.model --output x.bin >&- <&-");
  EXPECT_EQ(quiet.exit_code, 0) << quiet.err;  // it has nothing to say there
  const Outcome info = run("info x.bin >&-");
  EXPECT_EQ(info.exit_code, 2);
  EXPECT_EQ(info.err,
            "rse-data: error: cannot write standard output: it was closed when the program started\n");
}

TEST_F(DataProgram, TwoAtOnceDoNotMixTheirFilesInOneFolder) {
  write("train.txt", toy_text(6, 20000));
  std::filesystem::create_directory(folder_ / "out");
  const FolderLock other(folder_ / "out");
  expect_user_error(RSE_DATA_PROGRAM, "prepare --train train.txt --vocab-size 330 --output out",
                    {"--output: 'out': another process writes into this folder"});
}

TEST_F(DataProgram, ASplitOfAnEarlierPrepareDoesNotStayBesideANewTokenizer) {
  write("train.txt", toy_text(6, 20000));
  write("test.txt", toy_text(7, 2000));
  const std::string prepare = "prepare --train train.txt --vocab-size 330 --output out";
  ASSERT_EQ(run(prepare + " --test test.txt").exit_code, 0);
  expect_user_error(RSE_DATA_PROGRAM, prepare, {"--output: 'out': test.bin of an earlier prepare is there"});
  EXPECT_EQ(run(prepare + " --test train.txt").exit_code, 0);
}

TEST_F(DataProgram, AFileGivenTwiceIsNamed) {
  write("toy.model", toy_tokenizer().model());
  write("a.txt", "kato\n");
  const Outcome outcome = run("encode --input a.txt ./a.txt --tokenizer toy.model --output x.bin");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, testing::HasSubstr("./a.txt: taken again: its text counts more than once\n"));
}

TEST_F(DataProgram, AFileBeyondTheLimitOfItsSizeIsAnError) {
  write("toy.model", toy_tokenizer().model());
  write("a.txt", toy_text(6, 400000));
  const Outcome outcome = shell(fmt::format(
      "ulimit -f 8; exec '{}' encode --input a.txt --tokenizer toy.model --output x.bin", RSE_DATA_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_THAT(outcome.err, testing::HasSubstr("File too large"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "x.bin"));
  EXPECT_EQ(listing(folder_.path()).size(), 2u);  // nothing half-written
}

TEST_F(DataProgram, AProcessSubstitutionOfJsonLinesIsRead) {
  write("toy.model", toy_tokenizer().model());
  write("a.jsonl", "{\"text\":\"kato\"}\n{\"text\":\"miren\"}\n");
  const Outcome outcome =
      shell(fmt::format("bash -c \"'{}' encode --input <(cat a.jsonl) --tokenizer toy.model --output x.bin\"",
                        RSE_DATA_PROGRAM));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(TokenFile(folder_ / "x.bin").documents(), 2u);
}

TEST_F(DataProgram, AnOutputThatIsALinkStaysOne) {
  write("toy.model", toy_tokenizer().model());
  write("a.txt", "kato\n");
  std::filesystem::create_directory(folder_ / "big");
  std::filesystem::create_symlink("big/x.bin", folder_ / "x.bin");
  ASSERT_EQ(run("encode --input a.txt --tokenizer toy.model --output x.bin").exit_code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(folder_ / "x.bin"));
  EXPECT_EQ(TokenFile(folder_ / "big/x.bin").documents(), 1u);
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
