// Runs rse-bench as its users do, at tiny sizes on the CPU: tests the table, the file of results and the
// errors.
#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace rse {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kTiny = "--seq-lens 16,32 --heads 2 --head-dim 8 --repeats 2 --threads 1 ";

class BenchProgram : public ProgramTest {
 protected:
  Outcome bench(const std::string& arguments) const {
    return shell(fmt::format("'{}' {}", RSE_BENCH_PROGRAM, arguments));
  }
  json results(const std::string& arguments) const {
    const Outcome outcome = bench(fmt::format("attention {} {} --json out.json", kTiny, arguments));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json::parse(read_file(folder_ / "out.json"));
  }
};

TEST_F(BenchProgram, PrintsALineForEveryLengthCaseAndPhase) {
  const Outcome outcome = bench(fmt::format("attention {}", kTiny));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  for (const char* part : {"batch 1, 2 heads of 8", "float32, bidirectional", "1 threads, 2 rounds",
                           "rse: cpu kernel", "error / bound", "Inputs are random normal numbers"}) {
    EXPECT_THAT(outcome.out, HasSubstr(part));
  }
  for (const char* length : {"16", "32"}) {
    for (const char* name : {"sdpa", "rse dense", "rse skipping"}) {
      for (const char* phase : {"forward", "backward", "fwd\\+bwd"}) {
        EXPECT_THAT(outcome.out, testing::ContainsRegex(fmt::format("\n +{}  {} +{} +[0-9]+\\.[0-9]+ \\[",
                                                                    length, name, phase)));
      }
    }
  }
}

TEST_F(BenchProgram, WritesTheResultsAsJson) {
  const json all = results("--causal --no-self-key --seed 5");
  EXPECT_EQ(all["heads"], 2);
  EXPECT_EQ(all["head_dim"], 8);
  EXPECT_EQ(all["dtype"], "float32");
  EXPECT_EQ(all["device"], "cpu");
  EXPECT_EQ(all["causal"], true);
  EXPECT_EQ(all["self_key"], false);
  EXPECT_EQ(all["rounds"], 2);
  EXPECT_EQ(all["seed"], 5);
  EXPECT_EQ(all["decay"], (std::vector<double>{0.0002, 3.0}));
  ASSERT_EQ(all["rows"].size(), 6u);
  for (const json& row : all["rows"]) {
    const bool rse = row["case"] != "sdpa";
    EXPECT_EQ(row.contains("visited_share"), rse);
    EXPECT_LE(row["error_over_bound"], 1.0);
    for (const char* phase : {"forward", "backward", "fwd+bwd"}) {
      const json& time = row[phase]["ms"];
      EXPECT_GT(time["median"], 0.0);
      EXPECT_LE(time["low"], time["median"]);
      EXPECT_LE(time["median"], time["high"]);
      EXPECT_GT(row[phase]["sdpa_time_ratio"]["median"], 0.0);
      EXPECT_GT(row[phase]["dense_tflops"], 0.0);
    }
  }
  EXPECT_EQ(all["rows"][1]["case"], "rse dense");
  EXPECT_EQ(all["rows"][1]["visited_share"], 1.0);
  EXPECT_EQ(all["rows"][5]["seq_len"], 32);
}

TEST_F(BenchProgram, TakesTheBackendAndDtypeThatAreAskedFor) {
  EXPECT_THAT(results("--backend reference")["backend"], HasSubstr("reference"));
  EXPECT_EQ(results("--dtype bfloat16 --decay 0")["dtype"], "bfloat16");
}

TEST_F(BenchProgram, ListsBackendsAndSaysItsVersion) {
  const Outcome list = bench("--list");
  EXPECT_EQ(list.exit_code, 0) << list.err;
  for (const char* part :
       {"cpu: auto = cpu kernel", "reference = reference", "cuda: ", "portable = ", "hopper = "}) {
    EXPECT_THAT(list.out, HasSubstr(part));
  }
  const Outcome version = bench("--version");
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, testing::MatchesRegex("rse-bench [0-9.]+\n"));
}

TEST_F(BenchProgram, UserErrorsAreOneLine) {
  const auto fails = [&](const std::string& arguments, const std::string& part) {
    expect_user_error(RSE_BENCH_PROGRAM, arguments, {part});
  };
  fails("", "expected a command: attention, step, or --list");
  fails("attention step", "expected a command: attention, step, or --list");
  fails("attention --heads 0", "--heads: '0': expected a whole number of at least 1");
  fails("attention --device gpu", "--device: 'gpu': expected cpu or cuda");
  fails("attention --dtype half", "--dtype: 'half': expected float32, bfloat16 or float16");
  fails("attention --backend fast", "'fast'");
  fails("attention --decay -1", "--decay: '-1'");
  fails("attention --run nowhere", "--data");
  fails("attention --lengths 3", "--lengths");
  write("run/config.yaml", "a: 1");
  write("a.bin", "tokens");
  const std::string inputs = fmt::format("attention {} --run run --data a.bin", kTiny);
  fails(inputs + " --json a.bin", "cannot write a.bin: a.bin is read, and would be lost");
  fails(inputs + " --json run/config.yaml", "cannot write run/config.yaml: it lies in run, which is read");
  fails(fmt::format("attention {} --run nowhere --data a.bin", kTiny), "nowhere");
}

}  // namespace
}  // namespace rse
