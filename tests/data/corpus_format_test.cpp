// Tests how a corpus file is read: which files are JSON lines and which are text, compressed or not.
#include "data/corpus_format.h"

#include <sys/stat.h>

#include <thread>

#include "tests/data/corpus_reading.h"
#include "tests/data/gzip_of.h"
#include "tests/data/toy_text.h"
#include "tests/data/zstd_of.h"

namespace rse {
namespace {

using std::string_literals::operator""s;
using testing::ElementsAre;

const std::string kLines = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";

class CorpusFormat : public CorpusReading {
 protected:
  TextFormat format(const std::string& name, const std::string& content) {
    CorpusReader reader({write(name, content)}, {});
    documents(reader);
    return reader.listing().files[0].format;
  }
  void expect_lines(const std::string& name, const std::string& content) {
    EXPECT_THAT(read({write(name, content)}), ElementsAre("one", "two")) << name;
  }
};

TEST_F(CorpusFormat, JsonLinesAreKnownByTheirContentUnderAnyName) {
  for (const char* name : {"corpus.json", "UP.JSONL", "Up.Json", "c4-train.00000-of-01024", "noending",
                           "a.data", "a.jsonl.1", ".hidden", "a.json.txt.part"}) {
    expect_lines(name, kLines);
    expect_lines(name, gzip_of(kLines));
    expect_lines(name, zstd_of(kLines));
    expect_lines(name, "\xEF\xBB\xBF" + kLines);
    expect_lines(name, "\n \r\n" + kLines);
  }
  expect_lines("a.JSON.GZ", gzip_of(kLines));
  expect_lines("a.Zst", zstd_of(kLines));
  expect_lines("spaces", "  { \"text\" : \"one\" } \r\n" + kLines.substr(kLines.find('\n') + 1));
  expect_lines("nested", "{\"meta\":{\"a\":[1,{}]},\"text\":\"one\"}\n{\"text\":\"two\"}");
  const std::string long_line = "{\"url\":\"" + std::string(3 << 16, 'x') + "\",\"text\":\"one\"}\n";
  expect_lines("long", long_line + "{\"text\":\"two\"}\n");
  const std::string long_name = "{\"" + std::string(3 << 16, 'x') + "\":1,\"text\":\"one\"}\n";
  expect_lines("longname", long_name + "{\"text\":\"two\"}\n");
}

TEST_F(CorpusFormat, ProseThatBeginsLikeJsonIsText) {
  for (const std::string text :
       {"{Enter the king.}\nWho is there?\n", "{ }} is no object\n", "{\"Ah,\" he said} and left.\n", "{\n",
        "[Illustration]\nOnce upon a time\n", "[1] A footnote.\n[2] Another.\n", "[1]\nA chapter\n",
        "\"text\": \"one\"\n", "17\n", "null\n", "{{template}}\nwords\n", "[[link]] words\n"}) {
    EXPECT_EQ(format("prose", text), TextFormat::kText) << text;
    EXPECT_THAT(read({write("prose", text)}), ElementsAre(text));
  }
}

TEST_F(CorpusFormat, BrokenJsonLinesAreNotTakenForText) {
  expect_error("a", "{\"text\": \"one\n{\"text\": \"two\"}\n", ":1: not JSON");
  expect_error("b", "{\"text\": one}\n", ":1: not JSON");
  expect_error("c", kLines + "{\"text\": ", ":3: not JSON");
  expect_error("d", "[\"one\"]\n[\"two\"]\n", ":1: a JSON array: expected an object");
  expect_error("e.json", "One day\n", ":1: not JSON");
}

TEST_F(CorpusFormat, OneJsonDocumentIsRefused) {
  expect_error("a.json", "[{\"text\": \"one\"}, {\"text\": \"two\"}]\n",
               ": one JSON array: expected JSON lines");
  expect_error("b.json", "[\n  {\"text\": \"one\"}\n]\n", ": one JSON array");
  expect_error("c.json", "{\n  \"text\": \"one\"\n}\n", ": one JSON object over several lines");
  expect_error("d", "{\n  \"text\": \"one\"\n}\n", ": one JSON object over several lines");
  expect_error("e", "[{\"text\": \"" + std::string(3 << 16, 'x') + "\"}]", ": one JSON array");
  expect_error("f.json.gz", gzip_of("[\n{\"text\": \"one\"},\n{\"text\": \"two\"}]\n"), ": one JSON array");
}

TEST_F(CorpusFormat, TheFlagForcesIt) {
  EXPECT_THAT(read({write("a.jsonl", kLines)}, {.format = TextFormat::kText}), ElementsAre(kLines));
  EXPECT_THAT(read({write("a.txt", kLines)}, {.format = TextFormat::kJsonLines}), ElementsAre("one", "two"));
  EXPECT_THAT(read({write("a.csv", "a,b\n")}, {.format = TextFormat::kText}), ElementsAre("a,b\n"));
  expect_error("prose", "One day\n", ":1: not JSON", {.format = TextFormat::kJsonLines});
}

TEST_F(CorpusFormat, TextThatLooksLikeJsonLinesIsMarked) {
  for (const char* name : {"a.txt", "b.jsonl"}) {
    CorpusReader reader({write(name, kLines)}, {});
    documents(reader);
    EXPECT_EQ(reader.listing().files[0].text_like_json_lines, name[0] == 'a');
  }
}

TEST_F(CorpusFormat, OtherFilesAreNamed) {
  const std::string tar = std::string(257, 'x') + "ustar\0"s + std::string(250, '\0');
  const std::pair<const char*, std::string> files[] = {
      {": a Parquet file: expected text", "PAR1\x15\x00\x15"s},
      {": a ZIP archive", "PK\x03\x04\x14\x00"s},
      {": a PDF document", "%PDF-1.4\n%\xE2\xE3\xCF\xD3\nobj"},
      {": bzip2 data", "BZh91AY&SY\x01\x00\xFF"s},
      {": xz data", "\xFD\x37zXZ\x00"s},
      {": a tar archive", tar},
      {":1: not UTF-8: UTF-16 by its byte order mark", "\xFF\xFEo\0n\0e\0"s},
      {":1: not UTF-8: UTF-16 by its byte order mark", "\xFE\xFF\0o\0n\0e"s},
      {":1: not UTF-8: UTF-32 by its byte order mark", "\xFF\xFE\0\0o\0\0\0"s},
      {": a token file", "RSETOK1\0\1\0\0\0"s}};
  for (const auto& [message, content] : files) {
    for (const char* name : {"a", "a.txt", "a.jsonl"}) expect_error(name, content, message);
    expect_error("a.txt", content, message, {.format = TextFormat::kText});
    expect_error("a.gz", gzip_of(content), message);
  }
  expect_error("a", zstd_of(gzip_of(kLines)), ": gzip data within compressed data");
  expect_error("a.jsonl.gz", gzip_of(zstd_of(kLines)), ": zstd data within compressed data");
  expect_error("a.csv", "text,n\none,1\n", ": a table: expected text or JSON lines");
  EXPECT_THAT(read({write("words", "BZh and PK and PAR1\n")}), ElementsAre("BZh and PK and PAR1\n"));
}

TEST_F(CorpusFormat, PipesLoseNothing) {
  std::string lines;
  for (int i = 0; i < 20000; ++i) lines += fmt::format("{{\"text\": \"document {}\"}}\n", i);
  for (const std::string& content : {lines, gzip_of(lines), zstd_of(lines), kLines}) {
    const std::filesystem::path pipe = folder_ / "pipe";
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    std::thread writer([&] { std::ofstream(pipe, std::ios::binary) << content; });
    CorpusReader reader({pipe}, {});
    const std::vector<std::string> found = documents(reader);
    writer.join();
    std::filesystem::remove(pipe);
    EXPECT_EQ(found.size(), content == kLines ? 2u : 20000u);
    EXPECT_EQ(found.back(), content == kLines ? "two" : "document 19999");
    EXPECT_EQ(reader.listing().files[0].bytes, content.size());
    EXPECT_EQ(reader.listing().files[0].hash, xxh64(content.data(), content.size()));
  }
}

TEST_F(CorpusFormat, GzipIsReadAndItsDamageIsOneError) {
  const std::string text = toy_text(2, 30000);
  const std::string whole = gzip_of(text);
  EXPECT_THAT(read({write("a.txt.gz", whole)}), ElementsAre(text));
  EXPECT_THAT(read({write("a.txt", whole)}), ElementsAre(text));
  EXPECT_THAT(read({write("a.txt.gz", whole + gzip_of("") + gzip_of("end\n"))}), ElementsAre(text + "end\n"));
  for (const size_t cut : {size_t{3}, size_t{12}, whole.size() / 2, whole.size() - 1}) {
    expect_error("cut.txt.gz", whole.substr(0, cut), ": gzip data ends too early");
  }
  std::string damaged = whole;
  damaged[damaged.size() - 6] ^= 1;
  expect_error("crc.txt.gz", damaged, ": damaged gzip data near byte");
  expect_error("tail.txt.gz", whole + "trailing garbage", ": bytes that are not gzip follow its gzip data");
  expect_error("zeros.txt.gz", whole + std::string(512, '\0'), ": bytes that are not gzip follow");
  expect_error("plain.txt.gz", "One day\n", ": damaged gzip data, or none");
}

// A frame that asks for a window of 2^log bytes and holds `text` in one uncompressed block.
std::string zstd_with_window(int log, const std::string& text) {
  std::string frame = "\x28\xB5\x2F\xFD\x00"s;
  frame += static_cast<char>((log - 10) << 3);
  const size_t header = text.size() << 3 | 1;
  for (int i = 0; i < 3; ++i) frame += static_cast<char>(header >> 8 * i);
  return frame + text;
}

TEST_F(CorpusFormat, ZstdWindowsAreReadUpToTheLimitOfTheFormat) {
  for (const int log : {20, 27, 28, 31}) {
    EXPECT_THAT(read({write("a.txt.zst", zstd_with_window(log, "one\n"))}), ElementsAre("one\n")) << log;
  }
  expect_error("a.txt.zst", zstd_with_window(32, "one\n"), ": zstd data with a window of over 2 GiB");
  const std::string skippable = "\x50\x2A\x4D\x18\x04\x00\x00\x00skip"s;
  EXPECT_THAT(read({write("a", skippable + zstd_of("one\n"))}), ElementsAre("one\n"));
}

}  // namespace
}  // namespace rse
