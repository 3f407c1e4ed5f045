// Tests SIGINT and SIGTERM: the first is remembered, the second ends the process.
#include "core/stop_signal.h"

#include "tests/support.h"

namespace rse {
namespace {

TEST(StopSignal, RemembersTheFirstAndGivesTheHandlersBack) {
  struct sigaction before {};
  sigaction(SIGTERM, nullptr, &before);
  {
    const StopSignal stop;
    EXPECT_EQ(stop.received(), 0);
    EXPECT_STREQ(stop.name(), "");
    raise(SIGTERM);
    EXPECT_EQ(stop.received(), SIGTERM);
    EXPECT_STREQ(stop.name(), "SIGTERM");
  }
  struct sigaction after {};
  sigaction(SIGTERM, nullptr, &after);
  EXPECT_EQ(after.sa_handler, before.sa_handler);
  const StopSignal next;  // does not remember the signal of the first object
  EXPECT_EQ(next.received(), 0);
}

TEST(StopSignal, ASecondOneOfEitherKindEndsTheProcessAtOnce) {
  const auto raise_both = [](int first, int second) {
    const StopSignal stop;
    raise(first);
    raise(second);
  };
  EXPECT_EXIT(raise_both(SIGTERM, SIGTERM), testing::ExitedWithCode(128 + SIGTERM), "");
  EXPECT_EXIT(raise_both(SIGTERM, SIGINT), testing::ExitedWithCode(128 + SIGINT), "");
}

TEST(StopSignal, ProgramsEndWithTheCodeOfAnInterruption) {
  EXPECT_EQ(run_program("test", []() -> int { throw Interrupted("as asked"); }), kExitInterrupted);
}

}  // namespace
}  // namespace rse
