// Tests corpora, tokenizers and flags that rse-data cannot use: one line names the file, the line and what
// was expected, and no file is left behind.
#include <sys/stat.h>

#include "tests/apps/bad_input.h"
#include "tests/data/gzip_of.h"
#include "tests/data/zstd_of.h"

namespace rse {
namespace {

// The name and content of a corpus file, and what the error must name.
struct BadText {
  std::string name;
  std::string file;
  std::string text;
  std::vector<std::string> parts;
};
void PrintTo(const BadText& bad, std::ostream* out) { *out << bad.name; }

using std::string_literals::operator""s;

const std::string kGoodFrame = zstd_of(toy_text(1, 5000));
const std::string kGoodMember = gzip_of(toy_text(1, 5000));

const BadText kTexts[] = {
    {"Empty", "a.txt", "", {"a.txt: no text in the corpus"}},
    {"Blank", "a.txt", " \n\t\n", {"a.txt: no text in the corpus", "1 blank"}},
    {"NotUtf8", "a.txt", "good\nna\xEFve\n", {"a.txt:2: not UTF-8: byte 0xEF at byte 3"}},
    {"Utf16", "a.txt", "\xFF\xFEg\0o\0"s, {"a.txt:1: not"}},
    {"Utf16WithoutAMark", "a.txt", "g\0o\0\n\0"s, {"a.txt:1: not text: a NUL byte at byte 2"}},
    {"ANulByte", "a.txt", "good\nno\0o\n"s, {"a.txt:2: not text: a NUL byte at byte 3"}},
    {"CutOffCodePoint", "a.txt", "good \xE2\x82", {"a.txt:1: not UTF-8"}},
    {"JsonWithoutTheField",
     "a.jsonl",
     "{\"text\":\"x\"}\n{\"body\":\"y\"}\n",
     {"a.jsonl:2: no field 'text'"}},
    {"JsonWithANumber",
     "a.jsonl",
     "{\"text\":5}\n",
     {"a.jsonl:1: field 'text' holds the JSON type number: expected a string"}},
    {"JsonWithNull",
     "a.jsonl",
     "{\"text\":null}\n",
     {"a.jsonl:1: field 'text' holds the JSON type null: expected a string"}},
    {"JsonThatIsAList", "a.jsonl", "[1]\n", {"a.jsonl:1: a JSON array: expected an object"}},
    {"JsonThatIsBroken", "a.jsonl", "{\"text\":\"x\"}\n\n{\"text\":\n", {"a.jsonl:3: not JSON"}},
    {"JsonThatIsDeep", "a.jsonl", std::string(5 << 20, '['), {"a.jsonl:1: not JSON"}},
    {"JsonThatIsNotUtf8", "a.jsonl", "{\"text\":\"na\xEFve\"}\n", {"a.jsonl:1: not UTF-8"}},
    {"JsonWithHalfAnEscape", "a.jsonl", "{\"text\":\"\\ud8\"}\n", {"a.jsonl:1: not JSON"}},
    {"JsonOfHalfASurrogateAlone",
     "a.jsonl",
     "{\"text\":\"\\ud800\"}\n",
     {"no text in the corpus", "1 blank"}},
    {"TextOfNoBreakSpaces", "a.txt", "\xC2\xA0\n\xE2\x80\x8B\n", {"no text in the corpus", "1 blank"}},
    {"AJsonArray", "a.json", "[{\"text\":\"x\"}]\n", {"a.json: one JSON array: expected JSON lines"}},
    {"AJsonObjectOverLines", "a", "{\n \"text\": \"x\"\n}\n", {"a: one JSON object over several lines"}},
    {"AParquetFile",
     "a.parquet",
     "PAR1\x15\0\x15\0"s,
     {"a.parquet: a Parquet file: expected text or JSON lines"}},
    {"ATable", "a.csv", "text,n\nx,1\n", {"a.csv: a table: expected text or JSON lines"}},
    {"TruncatedGzip",
     "a.txt.gz",
     kGoodMember.substr(0, kGoodMember.size() - 5),
     {"a.txt.gz: gzip data ends too early"}},
    {"GzipWithATail", "a.txt.gz", kGoodMember + "tail", {"a.txt.gz: bytes that are not gzip follow"}},
    {"GzipThatIsNotGzip", "a.txt.gz", "this is not gzip", {"a.txt.gz: damaged gzip data, or none"}},
    {"ZstdWithAWindowBeyondTheLimit",
     "a.txt.zst",
     "\x28\xB5\x2F\xFD\0\xB0\x09\0\0x"s,
     {"a.txt.zst: zstd data with a window of over 2 GiB"}},
    {"TextNamedJson", "a.ndjson", "plain text\n", {"a.ndjson:1: not JSON"}},
    {"TruncatedZstd",
     "a.txt.zst",
     kGoodFrame.substr(0, kGoodFrame.size() - 5),
     {"a.txt.zst: zstd data ends too early"}},
    {"ZstdThatIsNotZstd", "a.txt.zst", "this is not zstd at all", {"a.txt.zst: damaged zstd data"}},
    {"ZstdWithAnEndThatIsNot", "a.txt.zst", kGoodFrame + "tail", {"a.txt.zst: "}},
    {"EmptyZstd", "a.txt.zst", "", {"a.txt.zst: no text in the corpus"}},
    {"ZstdOfBadJson", "a.jsonl.zst", zstd_of("{\"text\":\"x\"}\nnope\n"), {"a.jsonl.zst:2: not JSON"}},
};

class BadCorpus : public BadInput, public testing::WithParamInterface<BadText> {};

TEST_P(BadCorpus, EndsInOneLine) {
  write_tokenizer();
  write(GetParam().file, GetParam().text);
  expect_data_error("encode --tokenizer tokenizer.model --output out.bin --input " + GetParam().file,
                    GetParam().parts);
}

INSTANTIATE_TEST_SUITE_P(Text, BadCorpus, testing::ValuesIn(kTexts),
                         [](const auto& info) { return info.param.name; });

// Cases in which the places of the corpus or the output are wrong. write_places() makes them.
const BadCase kCases[] = {
    {"MissingCorpus",
     "encode --tokenizer tokenizer.model --input none.txt --output out",
     {"none.txt: no such file"}},
    {"EmptyFolder",
     "encode --tokenizer tokenizer.model --input empty --output out",
     {"empty: no corpus files"}},
    {"FolderOfOtherFiles",
     "encode --tokenizer tokenizer.model --input pictures --output out",
     {"pictures: no corpus files"}},
    {"FolderWithABrokenLink",
     "encode --tokenizer tokenizer.model --input broken --output out",
     {"broken/a.txt: expected a file"}},
    {"FolderWithAPipe",
     "encode --tokenizer tokenizer.model --input pipes --output out",
     {"pipes/a.txt: expected a file"}},
    {"LinkToItself",
     "encode --tokenizer tokenizer.model --input loop.txt --output out",
     {"cannot read loop.txt: Too many levels of symbolic links"}},
    {"ADevice",
     "encode --tokenizer tokenizer.model --input /dev/zero --output out",
     {"/dev/zero: a device: expected a file"}},
    {"APipeThatWouldBeReadTwice",
     "prepare --train pipes/a.txt --vocab-size 330 --output out",
     {"pipes/a.txt: a pipe"}},
    {"BadValidationText",
     "prepare --train text.txt --valid latin1.txt --vocab-size 330 --output made/out",
     {"latin1.txt:2: not UTF-8"}},
    {"MissingValidationText",
     "prepare --train text.txt --valid none.txt --vocab-size 330 --output out",
     {"none.txt: no such file"}},
    {"TooFewPieces",
     "train-tokenizer --input text.txt --vocab-size 12 --output out",
     {"--vocab-size: '12': expected a whole number of at least 300 and at most 1048576"}},
    {"TooManyPieces", "prepare --train text.txt --vocab-size 30000 --output out", {"30000 pieces"}},
    {"HugeVocabulary",
     "train-tokenizer --input text.txt --vocab-size 99999999999999999999 --output out",
     {"--vocab-size: '99999999999999999999': expected a whole number of at least 300 and at most 1048576"}},
    {"NegativeVocabulary",
     "train-tokenizer --input text.txt --vocab-size -1 --output out",
     {"--vocab-size: '-1': expected a whole number of at least 300"}},
    {"VocabularyThatIsAWord",
     "train-tokenizer --input text.txt --vocab-size many --output out",
     {"--vocab-size", "many"}},
    {"CoverageThatIsNoNumber",
     "train-tokenizer --input text.txt --character-coverage nan --output out",
     {"--character-coverage: 'nan': expected a number of at least 0.98 and at most 1"}},
    {"CoverageBeyondOne",
     "train-tokenizer --input text.txt --character-coverage 1.5 --output out",
     {"--character-coverage: '1.5': expected a number of at least 0.98 and at most 1"}},
    {"EmptySample",
     "train-tokenizer --input text.txt --sample-bytes 0 --output out",
     {"--sample-bytes: '0': expected a whole number of at least 1048576"}},
    {"NegativeSeed", "train-tokenizer --input text.txt --seed -1 --output out", {"--seed", "-1"}},
    {"NegativeThreads",
     "encode --tokenizer tokenizer.model --input text.txt --threads -1 --output out",
     {"--threads: '-1': expected a whole number of at least 0 and at most 256"}},
    {"HugeThreads",
     "encode --tokenizer tokenizer.model --input text.txt --threads 99999999999 --output out",
     {"--threads", "99999999999"}},
    {"CoverageBelowTheTrainersRange",
     "train-tokenizer --input text.txt --vocab-size 330 --character-coverage 0.5 --output out",
     {"--character-coverage", "0.5", "at least 0.98 and at most 1"}},
    {"OutputThatIsAnInput",
     "encode --tokenizer tokenizer.model --input text.txt --output text.txt",
     {"cannot write text.txt: text.txt is read, and would be lost"}},
    {"OutputThatIsTheTokenizer",
     "encode --tokenizer tokenizer.model --input text.txt --output ./tokenizer.model",
     {"cannot write ./tokenizer.model: tokenizer.model is read"}},
    {"ModelThatIsAnInput",
     "train-tokenizer --input text.txt --vocab-size 330 --output text.txt",
     {"cannot write text.txt: text.txt is read"}},
    {"UnknownFormat",
     "encode --tokenizer tokenizer.model --input text.txt --format csv --output out",
     {"--format", "csv", "jsonl"}},
    {"TextOfReservedCharactersAlone",
     "train-tokenizer --input bars.txt --vocab-size 330 --output out",
     {"they hold no visible character besides U+2585"}},
    {"OutputThatIsAPipe",
     "encode --tokenizer tokenizer.model --input text.txt --output pipes/a.txt",
     {"cannot write pipes/a.txt: not a regular file"}},
    {"OutputThatIsALinkToItself",
     "encode --tokenizer tokenizer.model --input text.txt --output loop.txt",
     {"cannot write loop.txt: Too many levels of symbolic links"}},
    {"UnknownSeparator",
     "encode --tokenizer tokenizer.model --input text.txt --document-separator x --output out",
     {"document-separator"}},
    {"NoSubcommand", "", {"subcommand"}},
    {"UnknownSubcommand", "fly", {"subcommand"}},
    {"UnknownFlag", "info text.txt --fast", {"--fast", "rse-data --help"}},
    {"MissingFlag", "encode --input text.txt", {"required"}},
    {"MissingTokenizer",
     "encode --tokenizer none.model --input text.txt --output out",
     {"cannot open none.model: No such file"}},
    {"TokenizerThatIsAFolder",
     "encode --tokenizer empty --input text.txt --output out",
     {"cannot read empty: Is a directory"}},
    {"TokenizerThatIsText",
     "encode --tokenizer text.txt --input text.txt --output out",
     {"text.txt: not a SentencePiece model"}},
    {"OutputThatIsAFolder",
     "encode --tokenizer tokenizer.model --input text.txt --output empty",
     {"cannot write 'empty': expected the name of a file"}},
    {"OutputWithoutAName",
     "encode --tokenizer tokenizer.model --input text.txt --output ''",
     {"--output: '': expected a value"}},
    {"OutputInNoFolder",
     "encode --tokenizer tokenizer.model --input text.txt --output none/out",
     {"cannot write none/out: no folder none"}},
    {"OutputBelowAFile",
     "prepare --train text.txt --vocab-size 330 --output text.txt/out",
     {"cannot make folder text.txt/out: Not a directory"}},
    {"ATokenFileThatIsText", "info text.txt", {"text.txt: not a token file"}},
    {"ATokenFileThatIsMissing", "info none.bin", {"cannot open none.bin: No such file"}},
    {"ATokenFileThatIsAPipe", "info pipes/a.txt", {"cannot map pipes/a.txt: not a regular file"}},
    {"AReportThatCannotBeWritten",
     "info good.bin >/dev/full",
     {"cannot write standard output: No space left on device"}},
};

class BadDataCommand : public BadInput, public testing::WithParamInterface<BadCase> {
 protected:
  void write_places() const {
    write_tokenizer();
    write_toy_file(folder_ / "good.bin", {5, 3});
    write("latin1.txt", "good\nna\xEFve\n");
    write("pictures/a.png", "x");
    write("bars.txt", "\xE2\x96\x85 \xE2\x96\x85\n");
    for (const char* name : {"empty", "broken", "pipes"}) std::filesystem::create_directory(folder_ / name);
    std::filesystem::create_symlink("nowhere", folder_ / "broken/a.txt");
    std::filesystem::create_symlink("loop.txt", folder_ / "loop.txt");
    ASSERT_EQ(mkfifo((folder_ / "pipes/a.txt").c_str(), 0600), 0);
  }
};

TEST_P(BadDataCommand, EndsInOneLine) {
  write_places();
  expect_data_error(GetParam().arguments, GetParam().parts);
}

INSTANTIATE_TEST_SUITE_P(Data, BadDataCommand, testing::ValuesIn(kCases), case_name);

TEST_F(BadInput, AnUnknownLogLevelOfRseData) {
  expect_user_error(RSE_DATA_PROGRAM, "--log-level loud info x", {"log level 'loud': expected one of trace"});
}

// The next two inputs look like errors but are not.
TEST_F(BadInput, AFolderThatHoldsALinkToItselfIsReadOnce) {
  write_tokenizer();
  write("corpus/a.txt", "kato miren\n");
  std::filesystem::create_directory_symlink("../corpus", folder_ / "corpus/again");
  EXPECT_EQ(shell(fmt::format("'{}' encode --tokenizer tokenizer.model --input corpus --output a.bin",
                              RSE_DATA_PROGRAM))
                .exit_code,
            0);
  EXPECT_EQ(TokenFile(folder_ / "a.bin").documents(), 1u);
}

TEST_F(BadInput, ALineOfFiftyMegabytesIsCutIntoDocuments) {
  std::string line = "kato miren solva ";
  while (line.size() < size_t{50} << 20) line += line;
  write("a.txt", line);
  CorpusReader reader({folder_ / "a.txt"}, {});
  uint64_t bytes = 0;
  for (std::string text; reader.next(text); bytes += text.size()) EXPECT_LE(text.size(), size_t{32} << 20);
  EXPECT_EQ(bytes, line.size() + 1);  // the reader adds the end of the last line
  EXPECT_GE(reader.documents(), 3u);
}

}  // namespace
}  // namespace rse
