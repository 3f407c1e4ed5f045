// Tests that a dry run's estimate of peak memory is what CUDA's allocator counts.
#include <cmath>
#include <map>
#include <regex>

#include "run/device.h"
#include "tests/support.h"
#include "tests/train/toy_run.h"
#include "train/dry_run.h"

namespace rse {
namespace {

constexpr int64_t kVocabulary = 16384;

// Random tokens of a large vocabulary, in documents that are cut into sequences of 512 and shorter ones.
void write_large_corpus(const std::filesystem::path& path, uint64_t seed) {
  TokenFileWriter writer(path, "large tokenizer", kVocabulary);
  for (uint64_t document = 0; document < 96; ++document) {
    std::vector<int> tokens;
    for (uint64_t i = 0; i < 1024 + 16 * (document % 8); ++i) {
      const auto ordinary = static_cast<uint32_t>(kVocabulary - kFirstOrdinaryId);
      tokens.push_back(static_cast<int>(kFirstOrdinaryId +
                                        uniform_below(random_bits(seed, document * 4096 + i)[0], ordinary)));
    }
    writer.add_document(tokens);
  }
  writer.finish();
}

class DryRunMemory : public testing::TestWithParam<std::vector<std::string>> {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
  }
};

double bytes_of(const std::string& number, const std::string& unit) {
  const std::map<std::string, int> powers = {{"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
  return std::ldexp(std::stod(number), powers.at(unit));
}

TEST_P(DryRunMemory, IsEstimatedByTheDryRunWithinATenth) {
  const TemporaryFolder folder;
  write_large_corpus(folder / "train.bin", 3);
  write_large_corpus(folder / "valid.bin", 4);
  const TokenFile train_file(folder / "train.bin"), valid_file(folder / "valid.bin");
  ConfigNode tree = parse_config(
      "model: {layers: 4, width: 512, heads: 8, ffn_width: 2048, position: {learned: {max_positions: 512}}}\n"
      "data: {train: " +
          (folder / "train.bin").string() + ", valid: " + (folder / "valid.bin").string() +
          ", seq_len: 512, packing: packed}\n"
          "train: {steps: 4, batch_size: 48, device: cuda, precision: bf16}\n"
          "output: " +
          (folder / "run").string() + "\n",
      "large.yaml");
  for (const std::string& assignment : GetParam()) set_config_value(tree, assignment);
  RunConfig config = make_run_config(std::move(tree), "large.yaml");
  resolve_vocabulary(config, train_file, valid_file);
  const std::string text =
      dry_run(config, train_file, valid_file, resolve_device(DeviceChoice::kCuda, "test"));
  std::smatch found;
  ASSERT_TRUE(std::regex_search(text, found,
                                std::regex(R"(peak memory ([\d.]+) (\w+) \(estimated ([\d.]+) (\w+)\))")))
      << text;
  const double measured = bytes_of(found[1], found[2]), estimated = bytes_of(found[3], found[4]);
  EXPECT_GT(measured, 5e8);  // workspaces of libraries are small beside it
  EXPECT_NEAR(estimated / measured, 1.0, 0.1) << text;
}

INSTANTIATE_TEST_SUITE_P(
    Gpu, DryRunMemory,
    testing::Values(std::vector<std::string>{"model.position.method=learned", "model.dropout=0.1"},
                    std::vector<std::string>{"model.position.method=learned", "train.recompute=ffn",
                                             "train.accumulation=2", "data.packing=document"},
                    std::vector<std::string>{"model.position.method=rope", "model.norm=post",
                                             "model.activation=geglu", "model.head=transform"},
                    std::vector<std::string>{"model.position.method=rope_decay", "model.dropout=0.1"},
                    std::vector<std::string>{"model.position.method=rse"},
                    std::vector<std::string>{"model.position.method=rse", "data.packing=document",
                                             "model.norm=post", "model.embedding_norm=true",
                                             "train.accumulation=2"},
                    std::vector<std::string>{"model.position.method=rse", "train.recompute=layer"},
                    std::vector<std::string>{"model.position.method=rse", "train.precision=float32",
                                             "model.activation=geglu"}));

}  // namespace
}  // namespace rse
