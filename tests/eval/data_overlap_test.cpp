// Tests what an evaluation says of texts that the run was trained or validated on.
#include "eval/data_overlap.h"

#include "analysis/evaluation_reader.h"
#include "core/logging.h"
#include "eval/command.h"
#include "tests/eval/toy_evaluation.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

class DataOverlapTest : public testing::Test {
 protected:
  void SetUp() override { init_logging("warn"); }

  // Copies documents of train.bin, which has no marks of borders, into a token file that has them.
  fs::path with_borders(const std::vector<uint64_t>& documents) const {
    const fs::path path = toy_.toy.path("marked.bin");
    TokenFileWriter writer(path, "toy tokenizer", kToyVocabulary);
    const TokenFile& file = toy_.toy.train_file();
    for (const uint64_t document : documents) {
      std::vector<int64_t> tokens(file.document_length(document) + 2, kClsId);
      file.read(file.document_begin(document), tokens.size() - 2, tokens.data() + 1);
      tokens.back() = kSepId;
      writer.add_document({tokens.begin(), tokens.end()});
    }
    writer.finish();
    return path;
  }
  // Copies documents of train.bin and valid.bin, and some that neither has, into a token file.
  fs::path mixed(const std::vector<uint64_t>& train, const std::vector<uint64_t>& valid, int own) const {
    const fs::path path = toy_.toy.path("mixed.bin");
    TokenFileWriter writer(path, "toy tokenizer", kToyVocabulary);
    const auto copy = [&](const TokenFile& file, uint64_t document) {
      std::vector<int64_t> tokens(file.document_length(document));
      file.read(file.document_begin(document), tokens.size(), tokens.data());
      writer.add_document({tokens.begin(), tokens.end()});
    };
    for (const uint64_t document : train) copy(toy_.toy.train_file(), document);
    for (const uint64_t document : valid) copy(toy_.toy.valid_file(), document);
    for (int document = 0; document < own;
         ++document) {  // they differ from one of training in the last token
      std::vector<int64_t> tokens(64);
      toy_.toy.train_file().read(toy_.toy.train_file().document_begin(document), 64, tokens.data());
      tokens.back() = tokens.back() == 9 ? 10 : 9;
      writer.add_document({tokens.begin(), tokens.end()});
    }
    writer.finish();
    return path;
  }
  DataOverlap overlap(const fs::path& data, const std::vector<int64_t>& documents) const {
    return find_overlap(open_trained_run(toy_.run(), std::nullopt), TokenFile(data), documents);
  }
  // Evaluates `data` at the trained length. Returns evaluation.json; log_ and out_ hold what was printed.
  json evaluate(const fs::path& data) {
    EvalCommand command = toy_.command();
    command.data = data.string();
    command.lengths = "32";
    command.arms = "rse";
    command.seeds = "1";
    command.output = toy_.toy.path(fmt::format("out{}", ++outputs_)).string();
    testing::internal::CaptureStderr();
    testing::internal::CaptureStdout();
    EXPECT_EQ(run_eval_command(command), kExitOk);
    log_ = testing::internal::GetCapturedStderr();
    out_ = testing::internal::GetCapturedStdout();
    std::replace(out_.begin(), out_.end(), '\n', ' ');
    return json::parse(read_file(fs::path(command.output) / "evaluation.json"));
  }
  ToyEvaluation toy_;
  std::string log_, out_;
  int outputs_ = 0;
};

TEST_F(DataOverlapTest, CountsEvaluatedDocumentsThatAreEqualTokenByToken) {
  const fs::path data = mixed({3, 7, 39}, {0, 5}, 4);
  const DataOverlap all = overlap(data, {0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 0});
  EXPECT_EQ(all.documents, 9);
  EXPECT_EQ(all.train.documents, 3);
  EXPECT_EQ(all.valid.documents, 2);
  EXPECT_FALSE(all.train.same_content || all.train.same_file || all.valid.same_content ||
               all.valid.same_file);
  EXPECT_EQ(overlap(data, {2, 3, 8}).train.documents, 1);  // only of those that are evaluated
  EXPECT_EQ(overlap(data, {5, 6, 7, 8}).train.documents, 0);
  const DataOverlap held_out = overlap(toy_.data(), {0, 1, 2, 3, 4});
  EXPECT_EQ(held_out.train.documents, 0);
  EXPECT_EQ(held_out.valid.documents, 0);
  EXPECT_THAT(overlap_warnings(held_out), testing::IsEmpty());
  // A document that is evaluated twice is two.
  EXPECT_EQ(overlap(mixed({3, 3}, {}, 1), {0, 1, 2}).train.documents, 2);
}

TEST_F(DataOverlapTest, MarksOfBordersMakeNoOtherDocument) {
  EXPECT_EQ(overlap(with_borders({3, 7}), {0, 1}).train.documents, 2);
}

TEST_F(DataOverlapTest, ARelativePathIsFoundFromAnotherFolder) {
  TrainedRun run = open_trained_run(toy_.run(), std::nullopt);
  run.config.base.data.train = "train.bin";  // which lies beside the run, and not in the current folder
  const fs::path data = mixed({3, 7}, {}, 1);
  EXPECT_EQ(find_overlap(run, TokenFile(data), {0, 1, 2}).train.documents, 2);
  run.config.base.data.train = "none.bin";
  EXPECT_EQ(find_overlap(run, TokenFile(data), {0, 1, 2}).train.documents, std::nullopt);
}

TEST_F(DataOverlapTest, WhereATrainingFileIsGoneOrAnotherNothingIsCounted) {
  const fs::path data = mixed({3, 7}, {}, 1);
  write_toy_corpus(toy_.toy.path("train.bin"), 99);
  EXPECT_EQ(overlap(data, {0, 1, 2}).train.documents, std::nullopt);
  EXPECT_THAT(
      overlap_in_words(overlap(data, {0, 1, 2})),
      HasSubstr(
          "of 3 evaluated documents, as a whole: it is not known how many are in the training texts, which "
          "are not at hand; 0 in"));
  const DataOverlap itself = overlap(toy_.toy.path("train.bin"), {0});  // the file, with other content
  EXPECT_TRUE(itself.train.same_file && !itself.train.same_content);
  EXPECT_THAT(overlap_warnings(itself), testing::ElementsAre(HasSubstr("with other content by now")));
  fs::remove(toy_.toy.path("train.bin"));
  EXPECT_EQ(overlap(data, {0, 1, 2}).train.documents, std::nullopt);
}

TEST_F(DataOverlapTest, TheTrainingTextsUnderAnyNameAreNamed) {
  const fs::path copy = toy_.toy.path("copy.bin");
  fs::copy_file(toy_.toy.path("train.bin"), copy);
  for (const fs::path& data : {toy_.toy.path("train.bin"), copy}) {
    const json all = evaluate(data);
    const std::string warning = "The evaluated texts are the run's training texts: the models have seen them";
    EXPECT_THAT(log_, HasSubstr(warning));
    EXPECT_THAT(out_, HasSubstr("WARNING: " + warning));
    EXPECT_THAT(all["overlap"]["warnings"].at(0).get<std::string>(), HasSubstr(warning));
    EXPECT_EQ(all["headlines"]["warnings"], all["overlap"]["warnings"]);
    EXPECT_EQ(all["findings"][0], all["overlap"]["warnings"][0]);
    EXPECT_TRUE(all["overlap"]["train"]["same_content"].get<bool>());
    EXPECT_EQ(all["overlap"]["train"]["same_file"], data != copy);
    EXPECT_EQ(all["overlap"]["train"]["documents"], all["protocol"]["documents"]);
  }
}

TEST_F(DataOverlapTest, ValidationTextsAndPartsOfBothAreNamed) {
  json all = evaluate(toy_.toy.path("valid.bin"));
  EXPECT_THAT(log_, HasSubstr("The evaluated texts are the run's validation texts: where a checkpoint"));
  EXPECT_THAT(out_, HasSubstr("WARNING: The evaluated texts are the run's validation texts"));
  EXPECT_EQ(all["overlap"]["warnings"].size(), 1u);

  all = evaluate(mixed({3, 7, 39}, {0, 5}, 4));
  EXPECT_THAT(log_, HasSubstr("3 of 9 evaluated documents are also among the run's training texts"));
  EXPECT_THAT(log_, HasSubstr("2 of 9 evaluated documents are also among the run's validation texts"));
  EXPECT_EQ(all["overlap"]["warnings"].size(), 2u);
  EXPECT_EQ(all["overlap"]["in_words"],
            "of 9 evaluated documents, as a whole: 3 in the training texts; 2 in the validation texts");

  all = evaluate(toy_.data());
  EXPECT_THAT(log_, testing::Not(HasSubstr("evaluated documents are also")));
  EXPECT_THAT(out_, testing::Not(HasSubstr("WARNING")));
  EXPECT_EQ(all["overlap"]["warnings"], json::array());
  EXPECT_EQ(all["headlines"]["warnings"], json::array());
}

TEST_F(DataOverlapTest, ACombinationIsMarkedToo) {
  std::vector<std::string> folders;
  for (const char* seed : {"3", "1"}) {
    EvalCommand command = toy_.command();
    command.data = mixed({3, 7, 39}, {}, 4).string();
    command.lengths = "32";
    command.seeds = seed;
    command.save_targets = true;
    command.output = toy_.toy.path(std::string("seed") + seed).string();
    ASSERT_EQ(run_eval_command(command), kExitOk);
    folders.push_back(command.output);
    fs::remove(toy_.toy.path("train.bin"));  // the second one cannot count
  }
  EvalCommand command;
  command.combine = folders;
  command.output = toy_.toy.path("both").string();
  command.report = false;
  ASSERT_EQ(run_eval_command(command), kExitOk);
  const StoredEvaluation both = read_evaluation(toy_.toy.path("both/evaluation.json"));
  EXPECT_EQ(both.meta.overlap.documents, 7);
  EXPECT_EQ(both.meta.overlap.train.documents, 3);
}

}  // namespace
}  // namespace rse
