// Tests token files and tokenizers that are damaged or do not belong together.
#include "tests/apps/bad_input.h"

namespace rse {
namespace {

// How a file is broken: it is cut to a share of its size, or one bit is flipped at that place.
struct Damage {
  std::string name;
  double place;  // as a share of the file's size
  bool cut;
};
void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }
std::string damage_name(const testing::TestParamInfo<Damage>& info) { return info.param.name; }

std::string damaged(std::string content, const Damage& damage) {
  const auto place = static_cast<size_t>(damage.place * static_cast<double>(content.size() - 1));
  if (damage.cut) return content.substr(0, place);
  content[place] = static_cast<char>(content[place] ^ 0x10);
  return content;
}

const Damage kDamages[] = {{"CutToNothing", 0, true},           {"CutInTheHeader", 0.02, true},
                           {"CutInTheMiddle", 0.5, true},       {"CutAtItsLastByte", 1, true},
                           {"FlippedFirstByte", 0, false},      {"FlippedNearTheStart", 0.1, false},
                           {"FlippedAtAThird", 0.33, false},    {"FlippedInTheMiddle", 0.5, false},
                           {"FlippedAtTwoThirds", 0.67, false}, {"FlippedNearTheEnd", 0.97, false},
                           {"FlippedLastByte", 1, false}};

class Damaged : public BadInput, public testing::WithParamInterface<Damage> {};

TEST_P(Damaged, TokenFile) {
  write_run();
  write("bad.bin", damaged(read_file(folder_ / "train.bin"), GetParam()));
  expect_data_error("info --verify bad.bin", {"bad.bin: "});
  expect_train_error("--config run.yaml --set data.train=bad.bin", {"bad.bin: "});
}

TEST_P(Damaged, ValidationFile) {
  write_run();
  write("bad.bin", damaged(read_file(folder_ / "valid.bin"), GetParam()));
  expect_train_error("--config run.yaml --set data.valid=bad.bin --dry-run", {"bad.bin: "});
}

TEST_P(Damaged, Tokenizer) {
  write_tokenizer();
  write("bad.model", damaged(read_file(folder_ / "tokenizer.model"), GetParam()));
  expect_data_error("encode --tokenizer bad.model --input text.txt --output out", {"bad.model: "});
}

INSTANTIATE_TEST_SUITE_P(File, Damaged, testing::ValuesIn(kDamages), damage_name);

TEST_F(BadInput, TokenFilesOfTwoTokenizers) {
  write_run();
  TokenFileWriter other(folder_ / "other.bin", "another tokenizer", 100);
  other.add_document(std::vector<int>(64, 7));
  other.finish();
  expect_train_error("--config run.yaml --set data.valid=other.bin",
                     {"data.valid: other.bin: tokenizer", "train.bin"});
}

TEST_F(BadInput, AVocabularyThatIsNotTheTokenizers) {
  write_run();
  expect_train_error("--config run.yaml --set model.vocab_size=50",
                     {"run.yaml: model.vocab_size: '50'", "expected 0 or 100", "train.bin"});
}

TEST_F(BadInput, ATokenFileWithoutADocument) {
  write_run();
  write_toy_file(folder_ / "empty.bin", {}, 100);
  expect_train_error("--config run.yaml --set data.train=empty.bin", {"empty.bin: none of its 0 documents"});
  expect_train_error("--config run.yaml --set data.valid=empty.bin",
                     {"empty.bin: its longest document has 0 tokens"});
}

TEST_F(BadInput, TokenFilesThatAreNotThere) {
  write_run();
  expect_train_error("--config run.yaml --set data.train=none.bin",
                     {"data.train: 'none.bin' does not exist"});
  expect_train_error("--config run.yaml --set data.train=", {"data.train: not set"});
  expect_train_error("--config run.yaml --set data.train=.", {"cannot map .: not a regular file"});
  expect_train_error("--config run.yaml --set data.train=run.yaml", {"run.yaml: not a token file"});
  expect_train_error("--config run.yaml --set data.train=" + std::string(5000, 'a'), {"File name too long"});
}

}  // namespace
}  // namespace rse
