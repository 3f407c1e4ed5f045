#include "bench/step_data.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "core/check.h"
#include "core/file.h"
#include "core/logging.h"
#include "core/random.h"
#include "train/trainer.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSyntheticSteps = 4;
constexpr double kFeedSeconds = 0.25;

BatchPlan plan_of(const RunConfig& config) {
  BatchPlan plan = make_batch_plan(config.base);
  plan.seeds.resize(1);
  return plan;
}

// A folder of this process's own, which is removed with all that is in it.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (fs::temp_directory_path() / "rse-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      throw_user_error("{}: cannot make a folder for random ids there (TMPDIR)",
                       fs::temp_directory_path().string());
    }
    path_ = name;
  }
  ~ScratchFolder() { remove_tree(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

int64_t synthetic_vocabulary(const RunConfig& config) {
  const int64_t asked = config.base.model.vocab_size;
  if (asked == 0) return kSyntheticVocabulary;
  if (asked <= kFirstOrdinaryId) {
    throw_user_error("{}: model.vocab_size: '{}': expected 0 or at least {} for random ids",
                     config.source.string(), asked, kFirstOrdinaryId + 1);
  }
  return asked;
}

TokenFile random_tokens(const RunConfig& config, const BatchPlan& plan, uint64_t seed) {
  const ScratchFolder folder;
  const fs::path path = folder.path() / "random.bin";
  const int64_t vocabulary = synthetic_vocabulary(config);
  const int64_t documents = kSyntheticSteps * plan.batch_size * plan.accumulation;
  const auto ordinary = static_cast<uint32_t>(vocabulary - kFirstOrdinaryId);
  const uint64_t key = mix_key(seed, "rse-bench step");
  TokenFileWriter writer(path, "random ids", vocabulary);
  std::vector<int> tokens(static_cast<size_t>(config.base.data.seq_len));
  uint64_t drawn = 0;
  for (int64_t document = 0; document < documents; ++document) {
    for (int& token : tokens) {
      token = static_cast<int>(kFirstOrdinaryId + uniform_below(random_bits(key, drawn++)[0], ordinary));
    }
    writer.add_document(tokens);
  }
  writer.finish();
  return TokenFile(path);
}

}  // namespace

StepData::StepData(const RunConfig& config, bool synthetic, uint64_t seed) : plan_(plan_of(config)) {
  const DataConfig& data = config.base.data;
  const bool missing = data.train.empty() || !fs::exists(data.train);
  synthetic_ = synthetic || missing;
  if (synthetic_) {
    file_ = std::make_unique<TokenFile>(random_tokens(config, plan_, seed));
    description_ = fmt::format("{} random ids of {} pieces, seed {}, in full sequences of {}",
                               file_->tokens(), file_->vocab_size(), seed, data.seq_len);
    if (!synthetic && data.train.empty()) description_ += " (data.train is not set)";
    if (!synthetic && !data.train.empty()) description_ += fmt::format(" (no file '{}')", data.train);
  } else {
    file_ = std::make_unique<TokenFile>(open_token_file(data.train, "data.train"));
    description_ = fmt::format("{}: {} tokens, {} pieces", data.train, file_->tokens(), file_->vocab_size());
  }
  sequences_ = std::make_unique<SequenceSet>(*file_, data.seq_len, data.packing, data.min_tokens);
}

StepBatch StepData::batch(int64_t step) const {
  return make_step_batch(*file_, *sequences_, plan_, seed(), step);
}

double StepData::tokens_per_second() const {
  batch(0);  // brings the file into memory
  const double start = now_seconds();
  int64_t tokens = 0, steps = 0;
  while (steps < 2 || now_seconds() - start < kFeedSeconds) tokens += batch(steps++).tokens;
  return static_cast<double>(tokens) / (now_seconds() - start);
}

}  // namespace rse
