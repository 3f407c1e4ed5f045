// Tests the command that draws reports, with a shell script in place of the Python interpreter.
#include "analysis/report_command.h"

#include <stdlib.h>

#include <fstream>

#include "tests/support.h"

namespace rse {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

// A script that stands in for the interpreter as long as this object lives.
class FakePython {
 public:
  explicit FakePython(const std::string& body) {
    const std::filesystem::path path = folder_ / "python";
    std::ofstream(path) << "#!/bin/sh\n" << body << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    setenv("RSE_REPORT_PYTHON", path.c_str(), 1);
  }
  ~FakePython() { unsetenv("RSE_REPORT_PYTHON"); }
  const std::filesystem::path& folder() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

TEST(ReportCommand, PassesFolderAndRunWithoutAShell) {
  const FakePython python("printf '%s|' \"$@\" > \"$2/arguments\"; basename \"$1\" > \"$2/script\"");
  const std::filesystem::path evaluation = python.folder() / "eval $(touch x) 'q'";
  std::filesystem::create_directories(evaluation);
  EXPECT_EQ(draw_report(evaluation, {"runs/a b"}), evaluation / "report.html");
  EXPECT_EQ(read_file(evaluation / "script"), "report.py\n");
  EXPECT_THAT(read_file(evaluation / "arguments"),
              testing::EndsWith("report.py|" + evaluation.string() + "|--run|runs/a b|"));
}

// An empty entry would be the current folder, whose modules would be run.
TEST(ReportCommand, NoModuleOfTheCurrentFolderIsRun) {
  const FakePython python("printf '%s' \"${PYTHONPATH-unset}\" > \"$2/path\"");
  const std::filesystem::path evaluation = python.folder() / "e";
  std::filesystem::create_directories(evaluation);
  for (const auto& [given, kept] :
       {std::pair("/a/b:", "/a/b"), std::pair(":/a::lib:./x:/b", "/a:/b"), std::pair(".", "unset"),
        std::pair("", "unset"), std::pair("/a:/b c", "/a:/b c")}) {
    setenv("PYTHONPATH", given, 1);
    draw_report(evaluation, {"r"});
    EXPECT_EQ(read_file(evaluation / "path"), kept) << given;
  }
  unsetenv("PYTHONPATH");
}

TEST(ReportCommand, AFailureNamesTheLastLineAndHowToDrawLater) {
  const FakePython python("echo drawing; echo 'report: error: no matplotlib here' >&2; exit 2");
  EXPECT_THAT([&] { draw_report("runs/a/evaluation-1", {"runs/it's"}); },
              ThrowsMessage<std::runtime_error>(AllOf(
                  HasSubstr("report: error: no matplotlib here; the results are complete; draw it with: "),
                  HasSubstr("report.py runs/a/evaluation-1 --run 'runs/it'\\''s'"))));
}

TEST(ReportCommand, ASilentFailureNamesTheExitCode) {
  const FakePython python("exit 7");
  EXPECT_THAT([&] { draw_report("e", {"r"}); },
              ThrowsMessage<std::runtime_error>(HasSubstr("ended with exit code 7")));
  const FakePython killed("kill -9 $$");
  EXPECT_THAT([&] { draw_report("e", {"r"}); },
              ThrowsMessage<std::runtime_error>(HasSubstr("ended by signal 9")));
}

TEST(ReportCommand, AMissingInterpreterIsNamed) {
  setenv("RSE_REPORT_PYTHON", "/nowhere/python", 1);
  EXPECT_THAT([&] { draw_report("e", {"r"}); },
              ThrowsMessage<std::runtime_error>(
                  AllOf(HasSubstr("/nowhere/python: No such file or directory"), HasSubstr("draw it with"))));
  unsetenv("RSE_REPORT_PYTHON");
}

}  // namespace
}  // namespace rse
