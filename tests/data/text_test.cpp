// Tests UTF-8 checks, and the segments in which text is encoded.
#include "core/utf8.h"
#include "data/text_segments.h"
#include "tests/data/toy_text.h"
#include "tests/support.h"

namespace rse {
namespace {

TEST(Utf8, FindsTheFirstError) {
  for (const char* valid :
       {"", "plain", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "eight chars and \xE2\x82\xAC more"}) {
    EXPECT_EQ(utf8_error_position(valid), std::string_view(valid).size()) << valid;
  }
  for (const char* invalid :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2g", "\xE0\x9F\xBF", "\xE2\x82", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    EXPECT_EQ(utf8_error_position(invalid), 0u);
    EXPECT_EQ(utf8_error_position("twelve bytes" + std::string(invalid)), 12u);
  }
}

TEST(Utf8, BordersAndLength) {
  const std::string text =
      "a\xE2\x82\xAC"
      "b\xF0\x9F\x90\x98";
  const size_t expected[] = {0, 1, 1, 1, 4, 5, 5, 5, 5, 9, 9};
  for (size_t position = 0; position <= 10; ++position) {
    EXPECT_EQ(utf8_border_before(text, position), expected[position]);
  }
  EXPECT_EQ(utf8_length(text), 4u);
}

std::vector<size_t> segments(std::string_view text) {
  std::vector<size_t> sizes;
  for (; !text.empty(); text.remove_prefix(sizes.back())) sizes.push_back(first_segment_bytes(text));
  return sizes;
}

TEST(TextSegments, AreLines) {
  EXPECT_THAT(segments("ab\n\ncde"), testing::ElementsAre(3, 1, 3));
  EXPECT_THAT(segments("\n"), testing::ElementsAre(1));
}

TEST(TextSegments, CutLongLinesAtSpacesElseBetweenCharacters) {
  const std::string words = std::string(kLongestSegment - 10, 'x') + " " + std::string(100, 'y') + "\nz";
  EXPECT_THAT(segments(words), testing::ElementsAre(kLongestSegment - 10, 102, 1));
  const std::string one_word(kLongestSegment * 2, 'x');
  EXPECT_THAT(segments(one_word), testing::ElementsAre(kLongestSegment, kLongestSegment));
  std::string euros = "x";
  while (euros.size() < kLongestSegment * 2) euros += "\xE2\x82\xAC";
  for (size_t size : segments(euros)) EXPECT_LE(size, kLongestSegment);
  EXPECT_EQ(segments(euros)[0] % 3, 1u);
}

TEST(TextSegments, DoNotDependOnCutsBetweenThem) {
  const std::string text =
      toy_text(4, 2000) + std::string(kLongestSegment * 3, 'k') + "\n" + toy_text(5, 500);
  const std::vector<size_t> whole = segments(text);
  for (size_t wanted : {size_t{1}, size_t{100}, size_t{5000}, size_t{1} << 20}) {
    std::vector<size_t> joined;
    for (std::string_view rest = text; !rest.empty();) {
      const size_t bytes = segments_bytes(rest, wanted);
      EXPECT_GE(bytes, std::min(wanted, rest.size()));
      for (size_t size : segments(rest.substr(0, bytes))) joined.push_back(size);
      rest.remove_prefix(bytes);
    }
    EXPECT_EQ(joined, whole);
  }
}

}  // namespace
}  // namespace rse
