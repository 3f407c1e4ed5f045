#include "data/corpus_encoder.h"

#include <fstream>

#include "core/file.h"
#include "data/prepare.h"
#include "tests/data/toy_text.h"
#include "tests/support.h"

namespace rse {
namespace {

class CorpusEncoderTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  EncodingTotals encode(
      const Paths& inputs, const std::string& output, EncodingOptions options,
      const std::function<void(uint64_t)>& progress = [](uint64_t) {}) {
    CorpusReader corpus(inputs, {.separator = DocumentSeparator::kBlankLine});
    TokenFileWriter writer(folder_ / output, tokenizer_.model(), tokenizer_.vocab_size());
    const EncodingTotals totals = encode_corpus(corpus, tokenizer_, options, writer, progress);
    writer.finish();
    return totals;
  }
  TemporaryFolder folder_;
  const Tokenizer tokenizer_ = toy_tokenizer();
};

TEST_F(CorpusEncoderTest, DocumentsAreTheirTextsTokensInBoundaries) {
  const auto input = write("a.txt", "kato miren\nsolva\n\ndu\n");
  const EncodingTotals totals = encode({input}, "with.bin", {});
  encode({input}, "without.bin", {.boundaries = false});
  const TokenFile with(folder_ / "with.bin"), without(folder_ / "without.bin");
  with.verify();
  EXPECT_EQ(totals.documents, 2u);
  EXPECT_EQ(totals.tokens, with.tokens());
  EXPECT_EQ(totals.characters, 20u);
  EXPECT_EQ(with.tokenizer_hash(), tokenizer_.hash());
  ASSERT_EQ(with.documents(), 2u);
  const std::vector<int> expected = tokenizer_.encode("kato miren\nsolva");
  ASSERT_EQ(with.document_length(0), expected.size() + 2);
  ASSERT_EQ(without.document_length(0), expected.size());
  EXPECT_EQ(with.token(0), kClsId);
  EXPECT_EQ(with.token(with.document_begin(1) - 1), kSepId);
  EXPECT_EQ(with.token(with.document_begin(1)), kClsId);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(with.token(i + 1), expected[i]);
    EXPECT_EQ(without.token(i), expected[i]);
  }
}

// The documents are smaller and larger than a chunk.
TEST_F(CorpusEncoderTest, TheFileDoesNotDependOnThreads) {
  const std::string large = toy_text(6, 150000);
  const auto input = write("a.txt", toy_text(4, 50) + "\n" + large + "\n" + toy_text(5, 7));
  encode({input}, "1.bin", {.threads = 1});
  const std::string expected = read_file(folder_ / "1.bin");
  for (int threads : {2, 3, 8}) {
    encode({input}, "n.bin", {.threads = threads});
    EXPECT_EQ(read_file(folder_ / "n.bin"), expected) << threads << " threads";
  }
  const TokenFile file(folder_ / "1.bin");
  std::vector<int64_t> tokens(file.document_length(1) - 2);
  file.read(file.document_begin(1) + 1, tokens.size(), tokens.data());
  const std::vector<int> whole = tokenizer_.encode(large);
  EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), whole.begin(), whole.end()));
}

TEST_F(CorpusEncoderTest, AnErrorLeavesNoFile) {
  const auto good = write("a.txt", toy_text(6, 100000)), bad = write("b.txt", "good\n\xFF\n");
  EXPECT_THAT([&] { encode({good, bad}, "out.bin", {.threads = 2}); }, ThrowsUserError("b.txt:2: not UTF-8"));
  EXPECT_THROW(encode({good}, "out.bin", {.threads = 2}, [](uint64_t) { throw std::runtime_error("stop"); }),
               std::runtime_error);
  EXPECT_THAT([&] { encode({good}, "out.bin", {.threads = -1}); }, ThrowsUserError("-1 threads"));
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_.path())) ++files;
  EXPECT_EQ(files, 2u);
}

TEST_F(CorpusEncoderTest, PrepareMakesAWholeFolder) {
  PrepareRequest request;
  request.train = {write("a.txt", toy_text(6, 20000))};
  request.valid = {write("b.txt", toy_text(7, 500))};
  request.tokenizer.vocab_size = 330;
  request.output = folder_ / "new/out";
  prepare(request);
  const Tokenizer tokenizer = Tokenizer::load(request.output / "tokenizer.model");
  for (const char* name : {"train.bin", "valid.bin"}) {
    const TokenFile file(request.output / name);
    file.verify();
    EXPECT_EQ(file.tokenizer_hash(), tokenizer.hash());
    EXPECT_EQ(file.vocab_size(), 330);
    EXPECT_THAT(describe(file, true), testing::HasSubstr("documents: 1\n"));
  }
  EXPECT_FALSE(std::filesystem::exists(request.output / "test.bin"));
}

TEST_F(CorpusEncoderTest, MissingInputsAndFoldersAreFoundBeforeAnyWork) {
  PrepareRequest request;
  request.train = {write("a.txt", toy_text(6, 100))};
  request.test = {folder_ / "none.txt"};
  request.output = folder_ / "out";
  EXPECT_THAT([&] { prepare(request); }, ThrowsUserError("none.txt: no such file"));
  EXPECT_FALSE(std::filesystem::exists(request.output));
  write_file_atomically(folder_ / "m.model", tokenizer_.model());
  EXPECT_THAT([&] { make_token_file(request.train, {}, folder_ / "m.model", {}, folder_ / "no/a.bin"); },
              ThrowsUserError("no folder"));
}

}  // namespace
}  // namespace rse
