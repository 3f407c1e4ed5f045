// Tests UTF-8 checks, which characters are visible, the segments in which text is encoded, and the lines on
// which a tokenizer is trained.
#include <sstream>

#include "core/utf8.h"
#include "data/text_segments.h"
#include "data/training_lines.h"
#include "data/visible_text.h"
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

std::string utf8_of(uint32_t code) {
  std::string text;
  if (code < 0x80) return {static_cast<char>(code)};
  const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  const uint32_t lead[] = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(lead[more] | code >> 6 * more);
  for (int i = more - 1; i >= 0; --i) text += static_cast<char>(0x80 | (code >> 6 * i & 0x3F));
  return text;
}

// A text without a visible character is left out, and every other one has tokens.
TEST(VisibleText, EveryVisibleCharacterHasTokens) {
  const Tokenizer tokenizer = toy_tokenizer();
  std::vector<int> tokens;
  for (uint32_t code = 1; code <= 0xEFFFF; ++code) {
    if (code == 0xD800) code = 0xE000;    // surrogates
    if (code == 0x20000) code = 0xE0000;  // planes of ideographs, and empty ones
    const std::string text = utf8_of(code);
    if (!has_visible_character(text)) continue;
    tokens.clear();
    tokenizer.encode(text, tokens);
    ASSERT_FALSE(tokens.empty()) << fmt::format("U+{:04X}", code);
  }
}

TEST(VisibleText, IsFoundAnywhere) {
  EXPECT_FALSE(has_visible_character(""));
  EXPECT_FALSE(has_visible_character(" \t\r\n\xE2\x80\x8B\xC2\xA0\xE3\x80\x80\xEF\xBB\xBF\xF3\xA0\x80\x81"));
  for (const char* text :
       {"x", " \xE2\x80\x8B.", "\xC2\xA1", "\xE6\xBC\xA2", "\xF0\x9F\x98\x80", "\xE2\x96\x85"}) {
    EXPECT_TRUE(has_visible_character(text)) << text;
  }
  EXPECT_EQ(last_white_space("a b\xE3\x80\x80"
                             "c"),
            3u);
  EXPECT_EQ(last_white_space("a\xE2\x80\x8D"
                             "b"),
            std::string_view::npos);  // joins two characters
}

std::string joined_words(const std::vector<std::string>& lines) {
  std::string words;
  for (const std::string& line : lines) {
    std::istringstream stream(line);
    for (std::string word; stream >> word;) words += word + " ";
  }
  return words;
}

TEST(TrainingLines, LongOnesAreCutBetweenWordsAndShortOnesAreNot) {
  std::string line;
  for (int i = 0; i < 2000; ++i) line += fmt::format("word{} ", i % 97);
  const std::string exact(kLongestUncutLine, 'x');
  const TrainingLines training = training_lines({line, exact, "short words", "", " \xC2\xA0"}, 1);
  EXPECT_EQ(joined_words(training.lines), joined_words({line, exact, "short words"}));
  EXPECT_GT(training.lines.size(), 60u);
  EXPECT_LT(training.lines.size(), 250u);
  EXPECT_EQ(training.lines[training.lines.size() - 2], exact);
  EXPECT_EQ(training.lines.back(), "short words");
  EXPECT_EQ(training_lines({line}, 1).lines, training_lines({line}, 1).lines);
  EXPECT_NE(training_lines({line}, 1).lines, training_lines({line}, 2).lines);
}

TEST(TrainingLines, EveryKindOfWhiteSpaceEndsWords) {
  for (const char* space : {"\t", "\r", "\xC2\xA0", "\xE3\x80\x80", "\xE2\x80\xA8", "\xE2\x80\x8B"}) {
    std::string line;
    for (int i = 0; i < 500; ++i) line += std::string(i > 0 ? space : "") + "word";
    for (const std::string& part : training_lines({line}, 1).lines) {
      EXPECT_TRUE(part.starts_with("word") && part.ends_with("word")) << part;
    }
    EXPECT_GT(training_lines({line}, 1).lines.size(), 10u);
  }
}

TEST(TrainingLines, TheReservedCharacterBecomesASpaceAndIsCounted) {
  const TrainingLines training = training_lines({"a\xE2\x96\x85"
                                                 "b \xE2\x96\x85",
                                                 "c", "\xE2\x96\x85"},
                                                1);
  EXPECT_THAT(training.lines, testing::ElementsAre("a b  ", "c"));
  EXPECT_EQ(training.reserved, 2u);
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
  std::string tabs = words, wide = words;
  tabs[kLongestSegment - 10] = '\t';
  wide.replace(kLongestSegment - 10, 1, "\xE3\x80\x80");
  EXPECT_THAT(segments(tabs), testing::ElementsAre(kLongestSegment - 10, 102, 1));
  EXPECT_THAT(segments(wide), testing::ElementsAre(kLongestSegment - 10, 104, 1));
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
