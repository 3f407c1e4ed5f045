// A tiny run for tests: token files whose text has structure, and a configuration with a few thousand
// parameters.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/random.h"
#include "data/token_file.h"
#include "run/run_config.h"
#include "tests/support.h"
#include "train/trainer.h"

namespace rse {

inline constexpr int64_t kToyVocabulary = 64;

// Writes documents in which each token follows from the previous one (next = previous + 7, wrapped, among the
// ordinary pieces), except for one in ten, which is drawn from (seed, position). A model that looks one token
// aside predicts far better than word frequencies do.
inline void write_toy_corpus(const std::filesystem::path& path, uint64_t seed, int documents = 40,
                             int length = 64) {
  TokenFileWriter writer(path, "toy tokenizer", kToyVocabulary);
  const auto ordinary = static_cast<uint32_t>(kToyVocabulary - kFirstOrdinaryId);
  for (int document = 0; document < documents; ++document) {
    std::vector<int> tokens;
    uint32_t piece = 0;
    for (int i = 0; i < length; ++i) {
      const auto bits = random_bits(seed, static_cast<uint64_t>(document) * length + i);
      piece = i == 0 || uniform01(bits[0]) < 0.1 ? uniform_below(bits[1], ordinary) : (piece + 7) % ordinary;
      tokens.push_back(static_cast<int>(kFirstOrdinaryId + piece));
    }
    writer.add_document(tokens);
  }
  writer.finish();
}

// A folder with train.bin and valid.bin, and configurations that use them.
class ToyRun {
 public:
  ToyRun() {
    write_toy_corpus(folder_ / "train.bin", 11);
    write_toy_corpus(folder_ / "valid.bin", 12, 8);
    train_file_ = std::make_unique<TokenFile>(folder_ / "train.bin");
    valid_file_ = std::make_unique<TokenFile>(folder_ / "valid.bin");
  }

  // Returns the configuration of yaml() with `arms` appended and `assignments` applied as "--set" would.
  RunConfig config(const std::string& arms, const std::vector<std::string>& assignments = {}) const {
    ConfigNode tree = parse_config(yaml() + arms, "toy.yaml");
    for (const std::string& assignment : assignments) set_config_value(tree, assignment);
    RunConfig config = make_run_config(std::move(tree), "toy.yaml");
    resolve_vocabulary(config, *train_file_, *valid_file_);
    return config;
  }

  std::string yaml() const {
    return "model: {layers: 2, width: 32, heads: 2, ffn_width: 64, position: {learned: {max_positions: "
           "32}}}\n"
           "data: {train: " +
           (folder_ / "train.bin").string() + ", valid: " + (folder_ / "valid.bin").string() +
           ", seq_len: 32, min_tokens: 8}\n"
           "train: {steps: 4, batch_size: 4, warmup_steps: 2, learning_rate: 0.003, device: cpu}\n"
           "validation: {every: 0, pieces: 4}\n"
           "logging: {every: 2}\n"
           "checkpoint: {every: 0}\n";
  }

  // Trains `config` in a new folder under the toy folder, and returns that folder.
  std::filesystem::path train(const RunConfig& config, const std::string& name) {
    const std::filesystem::path run = folder_ / name;
    std::filesystem::create_directories(run);
    trainer = std::make_unique<Trainer>(config, *train_file_, *valid_file_, torch::Device(torch::kCPU));
    summaries = trainer->run(run);
    return run;
  }

  const TokenFile& train_file() const { return *train_file_; }
  const TokenFile& valid_file() const { return *valid_file_; }
  std::filesystem::path path(const std::string& name) const { return folder_ / name; }

  std::unique_ptr<Trainer> trainer;  // of the last train()
  std::vector<ReplicaSummary> summaries;

 private:
  TemporaryFolder folder_;
  std::unique_ptr<TokenFile> train_file_, valid_file_;
};

inline const char* kTwoArms =
    "arms:\n"
    "  rope: {model: {position: {method: rope}}}\n"
    "  rse: {model: {position: {method: rse}}}\n";

// Returns the lines of metrics.jsonl whose "type" is `type`.
inline std::vector<nlohmann::json> metric_lines(const std::filesystem::path& run, const std::string& type) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(run / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    nlohmann::json parsed = nlohmann::json::parse(line);
    if (parsed["type"] == type) lines.push_back(std::move(parsed));
  }
  return lines;
}

// True where both have the same names and every tensor is equal bit for bit.
inline bool bit_equal(const NamedTensors& a, const NamedTensors& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].first != b[i].first || !torch::equal(a[i].second, b[i].second)) return false;
  }
  return true;
}

}  // namespace rse
