// Tests the one rule for numbers, and what is refused of paths.
#include "core/parse_number.h"
#include "core/written_path.h"
#include "tests/support.h"

namespace rse {
namespace {

TEST(Number, IsDecimalWithOrWithoutLeadingZeros) {
  const Range<int64_t> any;
  EXPECT_EQ(parse_number("--n", "10", any), 10);
  EXPECT_EQ(parse_number("--n", "010", any), 10);
  EXPECT_EQ(parse_number("--n", "-0099", any), -99);
  EXPECT_EQ(parse_number("--n", "9223372036854775807", any), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(parse_number("--x", "00.5", Range<double>()), 0.5);
  EXPECT_EQ(parse_number("--x", "1e-3", Range<double>()), 1e-3);
  for (const char* text :
       {"", " 1", "1 ", "+1", "0x10", "1e3", "1.0", "1_000", "1,000", "--1", "one", "1k"}) {
    EXPECT_THAT([&] { parse_number("--n", text, any); },
                ThrowsUserError("--n: '" + std::string(text) + "': expected a whole number"))
        << text;
  }
  for (const char* text : {"", " 1", "+1", "0x1p3", "nan", "inf", "-inf", "1e400", "1.5.2", "1,5"}) {
    EXPECT_THAT([&] { parse_number("--x", text, Range<double>()); }, ThrowsUserError("': expected a number"))
        << text;
  }
}

TEST(Number, BeyondItsRangeIsNotClamped) {
  EXPECT_THAT([] { parse_number("--n", "101", between<int64_t>(1, 100)); },
              ThrowsUserError("--n: '101': expected a whole number of at least 1 and at most 100"));
  EXPECT_THAT([] { parse_number("--n", "99999999999999999999", between<int64_t>(1, 100)); },
              ThrowsUserError("expected a whole number of at least 1 and at most 100"));
  EXPECT_THAT([] { parse_number("--n", "9223372036854775808", at_least<int64_t>(0)); },
              ThrowsUserError("expected a whole number of at least 0 and at most 9223372036854775807"));
  EXPECT_THAT([] { parse_number("--x", "0", above(0.0)); },
              ThrowsUserError("--x: '0': expected a number above 0"));
}

TEST(WrittenPath, WithWhatAShellWouldExpandIsRefused) {
  const TemporaryFolder folder;
  for (const char* path :
       {"~", "~/runs/x", "~somebody/x", "$HOME/x", "runs/$NAME", "${SCRATCH}/x", "a/${B}c", "x$_y"}) {
    EXPECT_THAT([&] { check_written_path("f.yaml:3: output", path); },
                ThrowsUserError(fmt::format("f.yaml:3: output: '{}': ", path)))
        << path;
  }
  for (const char* path : {"", " ", "\t"}) {
    EXPECT_THAT([&] { check_written_path("--output", path); }, ThrowsUserError("found nothing in it"))
        << path;
  }
  for (const char* path :
       {"./~", "a~", "a/~b", "costs 5$", "a$1", "$", "$$", "#x", "%x", "[x]", "-x", "a b"}) {
    EXPECT_NO_THROW(check_written_path("--output", path)) << path;
  }
  const std::filesystem::path file = folder / "a$B";
  write_file_atomically(file, "");
  EXPECT_NO_THROW(check_written_path("--input", file.string()));
}

}  // namespace
}  // namespace rse
