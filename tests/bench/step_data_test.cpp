// Tests where rse-bench step gets its batches.
#include "bench/step_data.h"

#include "core/config_tree.h"
#include "tests/data/toy_file.h"

namespace rse {
namespace {

RunConfig config_with(const std::string& data, const std::string& more = "") {
  return make_run_config(parse_config("model: {layers: 1, width: 16, heads: 2, ffn_width: 16}\n"
                                      "train: {batch_size: 4, accumulation: 2, seeds: [5, 6]}\n"
                                      "data: {train: " +
                                          data + ", seq_len: 16, min_tokens: 4" + more + "}\n",
                                      "toy.yaml"),
                         "toy.yaml");
}

class StepDataTest : public ToyFileTest {};

TEST_F(StepDataTest, ATokenFileGivesTheTrainersBatches) {
  make({40, 17, 90});
  const RunConfig config = config_with((folder_ / "a.bin").string());
  const StepData data(config, /*synthetic=*/false, 1);
  EXPECT_FALSE(data.synthetic());
  EXPECT_EQ(data.seed(), 5u);
  const SequenceSet sequences(*file_, 16, Packing::kDocument, 4);
  const StepBatch expected = make_step_batch(*file_, sequences, data.plan(), 5, 3);
  const StepBatch batch = data.batch(3);
  ASSERT_EQ(batch.micro_batches.size(), 2u);
  EXPECT_EQ(batch.micro_batches[1].input_ids, expected.micro_batches[1].input_ids);
  EXPECT_GT(data.tokens_per_second(), 0);
}

TEST_F(StepDataTest, AMissingFileIsReplacedByRandomIdsInFullSequences) {
  for (const bool synthetic : {false, true}) {
    const StepData data(config_with((folder_ / "none.bin").string()), synthetic, 1);
    EXPECT_TRUE(data.synthetic());
    EXPECT_EQ(data.file().vocab_size(), kSyntheticVocabulary);
    const StepBatch batch = data.batch(0);
    EXPECT_EQ(batch.tokens, 2 * 4 * 16);
    EXPECT_EQ(batch.micro_batches[0].borders, (std::vector<int32_t>{0, 16, 32, 48, 64}));
    EXPECT_EQ(data.description().find("no file") != std::string::npos, !synthetic) << data.description();
  }
}

TEST_F(StepDataTest, RandomIdsFollowFromTheSeed) {
  const RunConfig config = config_with("none.bin", ", mask: {probability: 0.5}");
  const auto ids = [&](uint64_t seed) {
    return StepData(config, true, seed).batch(0).micro_batches[0].input_ids;
  };
  EXPECT_EQ(ids(1), ids(1));
  EXPECT_NE(ids(1), ids(2));
}

TEST_F(StepDataTest, TheVocabularyIsTheConfigurationsWhereItNamesOne) {
  RunConfig config = config_with("none.bin");
  config.base.model.vocab_size = 77;
  const StepData data(config, true, 1);
  EXPECT_EQ(data.file().vocab_size(), 77);
  const StepBatch batch = data.batch(0);
  for (const int64_t id : batch.micro_batches[0].input_ids) EXPECT_LT(id, 77);
  config.base.model.vocab_size = 5;
  EXPECT_THAT([&] { StepData(config, true, 1); }, ThrowsUserError("model.vocab_size: '5'"));
}

}  // namespace
}  // namespace rse
