// Tests SIGINT and SIGTERM (the first is remembered, the second ends the process), work that they end in a
// child, and threads that cannot start.
#include "core/stop_signal.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "core/stoppable_child.h"
#include "core/threads.h"
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
  raise(SIGHUP);  // as when a terminal is closed
  EXPECT_STREQ(next.name(), "SIGHUP");
}

TEST(StopSignal, ASecondOneOfEitherKindEndsTheProcessAtOnce) {
  const auto raise_both = [](int first, int second) {
    const StopSignal stop;
    raise(first);
    raise(second);
  };
  EXPECT_EXIT(raise_both(SIGTERM, SIGTERM), testing::ExitedWithCode(128 + SIGTERM), "");
  EXPECT_EXIT(raise_both(SIGTERM, SIGINT), testing::ExitedWithCode(128 + SIGINT), "");
  EXPECT_EXIT(raise_both(SIGHUP, SIGTERM), testing::ExitedWithCode(128 + SIGTERM), "");
}

// As under nohup, or in a background job of a script.
TEST(StopSignal, ThatTheParentIgnoresStaysIgnored) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const auto before = std::signal(signal, SIG_IGN);
    {
      const StopSignal stop;
      raise(signal);
      raise(signal);
      EXPECT_EQ(stop.received(), 0);
    }
    EXPECT_EQ(std::signal(signal, before), SIG_IGN);
  }
}

TEST(StopSignal, ThrowsWhereWorkAsks) {
  const StopSignal stop;
  EXPECT_NO_THROW(stop.throw_if_received());
  raise(SIGINT);
  EXPECT_THROW(stop.throw_if_received(), Interrupted);
}

TEST(StoppableChild, ReturnsWhatItsWorkReturnsOrThrows) {
  const StopSignal stop;
  const std::string large(1 << 20, '\0');
  EXPECT_EQ(run_stoppable(stop, "work", [&] { return large + "x"; }), large + "x");
  EXPECT_EQ(run_stoppable(stop, "work", [] { return std::string(); }), "");
  EXPECT_THAT([&] { run_stoppable(stop, "work", []() -> std::string { throw UserError("bad text"); }); },
              ThrowsUserError("bad text"));
  EXPECT_THROW(run_stoppable(stop, "work", []() -> std::string { throw std::logic_error("a bug"); }),
               std::runtime_error);
  EXPECT_THAT([&] { run_stoppable(stop, "work", [] { return raise(SIGKILL), std::string(); }); },
              ThrowsUserError("the process to work was ended by signal 9"));
  EXPECT_THAT([&] { run_stoppable(stop, "work", []() -> std::string { std::terminate(); }); },
              testing::ThrowsMessage<std::runtime_error>("terminate called"));
}

TEST(StoppableChild, EndsAtOnceWhenASignalComes) {
  const StopSignal stop;
  const pid_t parent = getpid();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(run_stoppable(stop, "work",
                             [&] {
                               kill(parent, SIGTERM);
                               raise(SIGTERM);  // a terminal's signals reach the child, too
                               while (true) pause();
                               return std::string();
                             }),
               Interrupted);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);  // no child is left
}

// A stack of 64 TiB per thread does not fit into an address space twice.
TEST(Threads, ThatCannotStartAreOneError) {
  rlimit limit{};
  getrlimit(RLIMIT_STACK, &limit);
  const rlim_t huge = rlim_t{64} << 40;
  if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < huge)
    GTEST_SKIP() << "this user cannot ask for such stacks";
  pthread_attr_t before, attributes;
  pthread_getattr_default_np(&before);
  pthread_attr_init(&attributes);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, huge), 0);
  ASSERT_EQ(pthread_setattr_default_np(&attributes), 0);
  EXPECT_THAT([] { require_threads(2, "to work"); }, ThrowsUserError("cannot start a thread to work"));
  pthread_setattr_default_np(&before);
  EXPECT_NO_THROW(require_threads(20, "to work"));
  EXPECT_NO_THROW(require_threads(0, "to work"));
}

TEST(StopSignal, ProgramsEndWithTheCodeOfAnInterruption) {
  EXPECT_EQ(run_program("test", []() -> int { throw Interrupted("as asked"); }), kExitInterrupted);
}

}  // namespace
}  // namespace rse
