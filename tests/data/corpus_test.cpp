#include "data/corpus.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/data/toy_text.h"
#include "tests/data/zstd_of.h"
#include "tests/support.h"

namespace rse {
namespace {

class CorpusTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& content) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  static std::vector<std::string> read(const std::vector<std::filesystem::path>& inputs,
                                       CorpusOptions options = {}) {
    CorpusReader reader(inputs, options);
    std::vector<std::string> documents;
    for (std::string text; reader.next(text);) documents.push_back(text);
    EXPECT_EQ(reader.bytes_read(), reader.bytes_total());
    EXPECT_EQ(reader.documents(), documents.size());
    return documents;
  }
  void expect_error(const std::string& name, const std::string& content, const std::string& message) {
    const auto path = write(name, content);
    EXPECT_THAT([&] { read({path}); }, ThrowsUserError(path.string() + message));
  }
  TemporaryFolder folder_;
};

using testing::ElementsAre;

TEST_F(CorpusTest, TextFilesAreDocuments) {
  EXPECT_THAT(read({write("a.txt", "one\n\ntwo"), write("b", "\xEF\xBB\xBFthree\r\n")}),
              ElementsAre("one\n\ntwo\n", "three\r\n"));
  EXPECT_THAT(read({write("a.txt.zst", zstd_of("one\n\ntwo"))}), ElementsAre("one\n\ntwo\n"));
}

TEST_F(CorpusTest, BlankLinesMayDivideText) {
  EXPECT_THAT(read({write("a.txt", "\n\none\nmore\n \t\r\n\n\ntwo\n\n")},
                   {.separator = DocumentSeparator::kBlankLine}),
              ElementsAre("one\nmore\n", "two\n"));
}

TEST_F(CorpusTest, JsonLines) {
  const std::string lines =
      "{\"text\": \"one\\ntwo \\u20ac\", \"n\": 1}\n\n{\"n\": 2, \"text\": \"\"}\n{\"text\":\"last\"}";
  EXPECT_THAT(read({write("a.jsonl", lines)}), ElementsAre("one\ntwo \xE2\x82\xAC", "last"));
  EXPECT_THAT(read({write("a.ndjson.zst", zstd_of(lines))}), ElementsAre("one\ntwo \xE2\x82\xAC", "last"));
  EXPECT_THAT(read({write("b.jsonl", "{\"body\": \"x\"}\n")}, {.field = "body"}), ElementsAre("x"));
  const std::string others =
      "{\"n\": 1, \"n\": {\"text\": 2}, \"text\": \"x\", \"m\": [{\"text\": \"y\"}]}\n";
  EXPECT_THAT(read({write("c.jsonl", others)}), ElementsAre("x"));
}

TEST_F(CorpusTest, FoldersAreReadInOrderOfNames) {
  write("c/z.txt", "5");
  write("c/b/y.txt.zst", zstd_of("3") + zstd_of("4"));  // two frames
  write("c/a.jsonl", "{\"text\":\"1\"}\n{\"text\":\"2\"}\n");
  write("c/ignored.pdf", "\xFF");
  EXPECT_THAT(read({folder_ / "c"}), ElementsAre("1", "2", "34\n", "5\n"));
  EXPECT_THAT(read({folder_ / "c/z.txt", folder_ / "c/b"}), ElementsAre("5\n", "34\n"));
}

TEST_F(CorpusTest, LongTextIsCutAtLineBorders) {
  std::string text, joined;
  for (int i = 0; i < 1000; ++i) text += "line " + std::to_string(i) + " of many\n";
  for (const std::string& document : read({write("a.txt", text)}, {.longest_text_document = 100})) {
    EXPECT_LE(document.size(), 200u);
    EXPECT_EQ(document.back(), '\n');
    joined += document;
  }
  EXPECT_EQ(joined, text);
}

TEST_F(CorpusTest, EndlessLinesAreCutBetweenWordsOrCharacters) {
  std::string words, euros, joined;
  for (int i = 0; i < 500; ++i) words += "word" + std::to_string(i) + " ";
  for (int i = 0; i < 500; ++i) euros += "\xE2\x82\xAC";
  for (const std::string& document : read({write("a.txt", words)}, {.longest_text_document = 100})) {
    EXPECT_TRUE(document.back() == ' ' || document.back() == '\n');
    joined += document;
  }
  EXPECT_EQ(joined, words + "\n");
  joined.clear();
  for (const std::string& document : read({write("b.txt", euros)}, {.longest_text_document = 100}))
    joined += document;
  EXPECT_EQ(joined, euros + "\n");
}

// One rule: what cannot be seen is no document, in text and in JSON, whatever it consists of.
TEST_F(CorpusTest, DocumentsWithoutAVisibleCharacterAreSkipped) {
  const char* unseen[] = {"\\u200b",        "\\u00a0", "\\u3000",        "\\ufeff", "\\u2028", "\\u2003 \\t",
                          "\\u200e\\u200f", "\\u00ad", "\\u2060\\u200d", "\\ufffd", "\\u0001", "\\u0085",
                          "\\u2581",        "\\u0000", "\\ud83d",        "\\ufe0f", "\\u180e"};
  std::string lines, text = "x\n";
  for (const char* characters : unseen) {
    lines += fmt::format("{{\"text\":\"{}\"}}\n", characters);
    if (std::string(characters) == "\\u0000" || std::string(characters) == "\\ud83d") continue;
    text +=
        fmt::format("\n{}\n", nlohmann::json::parse(fmt::format("\"{}\"", characters)).get<std::string>());
  }
  CorpusReader json({write("a.jsonl", lines + "{\"text\":\"x\\u200b\"}\n")}, {});
  std::string document;
  EXPECT_TRUE(json.next(document));
  EXPECT_EQ(document, "x\xE2\x80\x8B");
  EXPECT_FALSE(json.next(document));
  EXPECT_EQ(json.skipped(), std::size(unseen));
  EXPECT_EQ(json.replaced(), 2u);
  EXPECT_THAT(read({write("a.txt", text)}, {.separator = DocumentSeparator::kBlankLine}), ElementsAre("x\n"));
  expect_error("b.txt", "\xC2\xA0\n\xE3\x80\x80\n", ": no text in the corpus (1 files, 1 blank");
}

TEST_F(CorpusTest, WhatTextCannotHoldIsReplaced) {
  CorpusReader reader({write("a.jsonl",
                             "{\"text\":\"cut \\ud83d\"}\n{\"a\":\"\\udc00\",\"text\":\"a\\u0000b\"}\n"
                             "{\"text\":\"\\ud83d\\ude00 \\\\ud83d\"}\n")},
                      {});
  std::vector<std::string> documents;
  for (std::string text; reader.next(text);) documents.push_back(text);
  EXPECT_THAT(documents, ElementsAre("cut \xEF\xBF\xBD",
                                     "a\xEF\xBF\xBD"
                                     "b",
                                     "\xF0\x9F\x98\x80 \\ud83d"));
  EXPECT_EQ(reader.replaced(), 3u);
}

TEST_F(CorpusTest, ByteOrderMarksOfJoinedFilesAreNoError) {
  const std::string line = "\xEF\xBB\xBF{\"text\":\"one\"}\n";
  EXPECT_THAT(read({write("a.jsonl", line + line)}), ElementsAre("one", "one"));
}

// Random text, longer than the reader's buffer, comes back from every kind of file.
TEST_F(CorpusTest, LargeFilesComeBackWhole) {
  const std::string text = toy_text(2, 200000);  // more than a megabyte
  EXPECT_EQ(read({write("a.txt", text)})[0], text);
  EXPECT_EQ(read({write("a.txt.zst", zstd_of(text))})[0], text);
}

TEST_F(CorpusTest, ErrorsNameFileAndLine) {
  EXPECT_THAT([&] { read({folder_ / "none.txt"}); }, ThrowsUserError("none.txt: no such file"));
  EXPECT_THAT([&] { read({}); }, ThrowsUserError("no corpus given"));
  expect_error("a.txt", "", ": no text in the corpus (1 files");
  expect_error("blank.txt", " \n\n", ": no text in the corpus (1 files, 1 blank");
  expect_error("latin1.txt", "good\nna\xEFve\n", ":2: not UTF-8: byte 0xEF at byte 3");
  expect_error("latin1.jsonl", "{\"text\":\"na\xEFve\"}\n", ":1: not UTF-8");
  expect_error("a.jsonl", "{\"text\":\"x\"}\n{\"text\":", ":2: not JSON (at byte");
  expect_error("b.jsonl", "[1]\n", ":1: a JSON array: expected an object");
  expect_error("c.jsonl", "{\"text\":\"x\"}\n\n{\"body\":\"x\"}\n", ":3: no field 'text'");
  expect_error("d.jsonl", "{\"text\":17}\n",
               ":1: field 'text' holds the JSON type number: expected a string");
  expect_error("twice.jsonl", "{\"text\":\"x\",\"text\":\"y\"}\n", ":1: field 'text' is there 2 times");
  expect_error("n.jsonl", "{\"id\":1e999,\"text\":\"x\"}\n", ":1: a number beyond the range");
  expect_error("e.jsonl", "{\"text\":\"\\ud8\"}\n", ":1: not JSON");
  const std::string compressed = zstd_of(toy_text(1, 5000));
  expect_error("cut.txt.zst", compressed.substr(0, compressed.size() - 5), ": zstd data ends too early");
  expect_error("foreign.txt.zst", "this is not zstd", ": damaged zstd data");
  std::filesystem::create_directories(folder_ / "empty");
  EXPECT_THAT([&] { read({folder_ / "empty"}); }, ThrowsUserError("no corpus files in this folder"));
}

}  // namespace
}  // namespace rse
