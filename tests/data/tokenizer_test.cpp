#include "data/tokenizer.h"

#include <fstream>
#include <numeric>
#include <set>
#include <thread>

#include "core/file.h"
#include "core/hash.h"
#include "data/model_checksum.h"
#include "data/text_segments.h"
#include "data/token_file.h"
#include "tests/data/toy_text.h"
#include "tests/support.h"

namespace rse {
namespace {

TEST(Tokenizer, SpecialPiecesHaveTheirIds) {
  const Tokenizer tokenizer = toy_tokenizer();
  EXPECT_EQ(tokenizer.vocab_size(), 330);
  EXPECT_EQ(tokenizer.piece(kPadId), "[PAD]");
  EXPECT_EQ(tokenizer.piece(kClsId), "[CLS]");
  EXPECT_EQ(tokenizer.piece(kSepId), "[SEP]");
  EXPECT_EQ(tokenizer.piece(kMaskId), "[MASK]");
  EXPECT_EQ(tokenizer.piece(kUnkId), "[UNK]");
  EXPECT_EQ(tokenizer.piece(kFirstOrdinaryId), "<0x00>");
}

TEST(Tokenizer, RoundTripsTextUpToWhiteSpace) {
  const Tokenizer tokenizer = toy_tokenizer();
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("kato  miren\nsolva\r\n\n du ")), "kato miren solva du");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("kato \xE2\x82\xAC \xF0\x9F\x90\x98 \xE6\xBC\xA2")),
            "kato \xE2\x82\xAC \xF0\x9F\x90\x98 \xE6\xBC\xA2");  // unknown characters, encoded as bytes
  EXPECT_TRUE(tokenizer.encode("").empty());
  EXPECT_TRUE(tokenizer.encode(" \n\n ").empty());
}

TEST(Tokenizer, TextCannotSpellSpecialPieces) {
  // The special pieces stay special even where the training text is full of their names.
  std::string text = toy_text(3, 5000);
  for (int i = 0; i < 300; ++i) text += "kato [MASK] miren [CLS] [SEP] solva [PAD] [UNK][MASK] <unk> </s>\n";
  const Tokenizer trained_on_them(toy_model(text, 345), "toy");
  const Tokenizer plain = toy_tokenizer();
  for (const Tokenizer* tokenizer : {&trained_on_them, &plain}) {
    for (const char* piece : {"[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "<unk>", "<s>"}) {
      for (const char* pattern : {"{}", "kato {}miren", "x{}"}) {
        const std::string input = fmt::format(fmt::runtime(pattern), piece);
        const std::vector<int> ids = tokenizer->encode(input);
        ASSERT_FALSE(ids.empty());
        EXPECT_GE(*std::min_element(ids.begin(), ids.end()), kFirstOrdinaryId) << input;
        EXPECT_EQ(tokenizer->decode(ids), input);
      }
    }
  }
}

TEST(Tokenizer, StrangeTextStaysOrdinary) {
  const Tokenizer tokenizer = toy_tokenizer();
  for (const std::string& text :
       {std::string("a\0b", 3), std::string("\t\x01\x7F\xC2\xA0"), std::string("\xE2\x96\x81\xE2\x96\x85"),
        std::string(3 * kLongestSegment, 'k'), std::string("\xEF\xBB\xBF")}) {
    for (int id : tokenizer.encode(text)) {
      EXPECT_GE(id, kFirstOrdinaryId);
      EXPECT_LT(id, tokenizer.vocab_size());
    }
  }
}

TEST(Tokenizer, LinesAreEncodedOneByOne) {
  const Tokenizer tokenizer = toy_tokenizer();
  const std::string text = toy_text(9, 300);
  std::vector<int> by_line;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    tokenizer.encode(std::string_view(text).substr(begin, end - begin), by_line);
    begin = end + 1;
  }
  EXPECT_EQ(tokenizer.encode(text), by_line);
}

TEST(Tokenizer, EncodesOnSeveralThreads) {
  const Tokenizer tokenizer = toy_tokenizer();
  const std::string text = toy_text(9, 3000);
  const std::vector<int> expected = tokenizer.encode(text);
  std::vector<std::vector<int>> found(4);
  std::vector<std::thread> threads;
  for (auto& ids : found) threads.emplace_back([&] { ids = tokenizer.encode(text); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& ids : found) EXPECT_EQ(ids, expected);
}

TEST(Tokenizer, LoadingChecksTheModel) {
  TemporaryFolder folder;
  const std::string model = toy_model(toy_text(3, 5000));
  write_file_atomically(folder / "a.model", model);
  const Tokenizer loaded = Tokenizer::load(folder / "a.model");
  EXPECT_EQ(loaded.hash(), xxh64(model.data(), model.size()));
  EXPECT_EQ(loaded.model(), model);
  EXPECT_THAT([&] { Tokenizer::load(folder / "none.model"); }, ThrowsUserError("none.model"));
  EXPECT_THAT([&] { Tokenizer("", "empty.model"); },
              ThrowsUserError("empty.model: not a SentencePiece model"));
  EXPECT_THAT([&] { Tokenizer("not a model at all", "x.model"); }, ThrowsUserError("x.model"));
  EXPECT_THAT([&] { Tokenizer(model.substr(0, model.size() / 2), "x.model"); }, ThrowsUserError("x.model"));
  std::string other = model;
  other[other.find("[MASK]") + 1] = 'W';
  EXPECT_THAT([&] { Tokenizer(other, "x.model"); }, ThrowsUserError("x.model: damaged tokenizer: checksum"));
  EXPECT_THAT([&] { Tokenizer(with_checksum(other), "x.model"); },
              ThrowsUserError("x.model: piece 3 is '[WASK]'"));
}

TEST(Tokenizer, EveryDamageIsFound) {
  const std::string model = toy_tokenizer().model();
  for (size_t sample = 0; sample < 500; ++sample) {
    std::string bad = model;
    const size_t place = sample * (model.size() - 1) / 499;
    bad[place] = static_cast<char>(bad[place] ^ (1 << sample % 8));
    EXPECT_THAT([&] { Tokenizer(bad, "x.model"); }, ThrowsUserError("x.model: ")) << "byte " << place;
    EXPECT_THAT([&] { Tokenizer(model.substr(0, place), "x.model"); }, ThrowsUserError("x.model: "))
        << place << " bytes";
  }
  // The last bytes are the checksum's own. A model without a checksum may have lost anything.
  for (size_t missing = 1; missing <= 12; ++missing) {
    EXPECT_THAT([&] { Tokenizer(model.substr(0, model.size() - missing), "x.model"); },
                ThrowsUserError("x.model: "));
  }
  const std::string last = "\x01\x02";
  EXPECT_THAT([&] { Tokenizer(model + last, "x.model"); }, ThrowsUserError("x.model: "));
}

TEST(TokenizerTrainer, IsDeterministic) {
  const std::string text = toy_text(3, 5000);
  EXPECT_EQ(toy_model(text), toy_model(text));
  EXPECT_NE(toy_model(text), toy_model(text, 340));
}

// Words of random letters in random order, with a space or, after every seventh, `end` between them.
std::string separate_words(int count, char end) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    const uint32_t word = uniform_below(random_bits(5, static_cast<uint64_t>(i))[0], 60);
    for (uint32_t letter = 0; letter < 5 + word % 3; ++letter) {
      text += static_cast<char>('a' + uniform_below(random_bits(6, word * 10 + letter)[0], 26));
    }
    text += i % 7 == 6 ? end : ' ';
  }
  return text;
}

// Without ends, a word that a space always follows got no piece: the text in one line took twice the tokens.
TEST(TokenizerTrainer, LineEndsDoNotMatter) {
  const std::string one_line = separate_words(7000, ' '), lines = separate_words(7000, '\n');
  ASSERT_LT(one_line.size(), kLongestSegment);
  const Tokenizer of_one_line(toy_model(one_line, 340), "one line"), of_lines(toy_model(lines, 340), "lines");
  const double ratio = static_cast<double>(of_one_line.encode(lines).size()) /
                       static_cast<double>(of_lines.encode(lines).size());
  EXPECT_LT(ratio, 1.02);
}

TEST(TokenizerTrainer, LinesWithTheReservedCharacterAreLearnedFrom) {
  std::string text;
  for (const char c : toy_text(3, 8000))
    text += c == '\n' ? std::string(" \xE2\x96\x85\n") : std::string(1, c);
  const std::string plain = toy_text(3, 8000);
  const Tokenizer tokenizer(toy_model(text, 320), "bars"), expected(toy_model(plain, 320), "plain");
  EXPECT_LT(static_cast<double>(tokenizer.encode(plain).size()),
            1.02 * static_cast<double>(expected.encode(plain).size()));
}

TEST(TokenizerTrainer, ErrorsHaveAReason) {
  LineSample sample(1, size_t{1} << 20);
  sample.add("kato miren solva");
  EXPECT_THAT([&] { train_tokenizer(sample, {.vocab_size = 330, .character_coverage = 0.5}); },
              ThrowsUserError("character coverage 0.5: expected 0.98 to 1"));
  LineSample reserved(1, size_t{1} << 20);
  reserved.add("\xE2\x96\x85");
  EXPECT_THAT([&] { train_tokenizer(reserved, {.vocab_size = 330}); },
              ThrowsUserError("they hold no visible character besides U+2585"));
}

TEST(TokenizerTrainer, ErrorsAreOneLine) {
  auto message = [](auto call) -> std::string {
    try {
      call();
    } catch (const UserError& error) {
      return error.what();
    }
    return "no error";
  };
  const std::string text = toy_text(3, 500);
  for (int64_t vocab_size : {299, 20000, 1 << 21}) {
    const std::string found = message([&] { toy_model(text, vocab_size); });
    EXPECT_THAT(found, testing::HasSubstr(std::to_string(vocab_size)));
    EXPECT_EQ(found.find('\n'), std::string::npos) << found;
  }
}

TEST(LineSample, IsBoundedUniformAndInOrder) {
  std::vector<double> chosen(1000);
  const int rounds = 200;
  for (uint64_t seed = 0; seed < rounds; ++seed) {
    LineSample sample(seed, 500);
    for (int i = 0; i < 1000; ++i) {
      sample.add(fmt::format("{:05}", i));  // each line has five bytes
      ASSERT_LE(sample.bytes(), 500u);
    }
    EXPECT_EQ(sample.lines_seen(), 1000u);
    const std::vector<std::string> lines = sample.take();
    EXPECT_EQ(lines.size(), 100u);
    EXPECT_TRUE(std::is_sorted(lines.begin(), lines.end()));
    for (const std::string& line : lines) ++chosen[static_cast<size_t>(std::stoi(line))];
  }
  // Over all samples each line is expected 20 times, and a hundred lines together 2000 times.
  for (size_t i = 0; i < 1000; i += 100) {
    EXPECT_NEAR(std::accumulate(chosen.begin() + i, chosen.begin() + i + 100, 0.0), 2000, 5 * 45);
  }
}

TEST(LineSample, KeepsEverythingThatFits) {
  LineSample sample(1, 100);
  for (const char* line : {"one", "", "three"}) sample.add(line);
  EXPECT_THAT(sample.take(), testing::ElementsAre("one", "", "three"));
}

}  // namespace
}  // namespace rse
