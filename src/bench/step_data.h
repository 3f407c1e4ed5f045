// The batches of rse-bench step: those of a run of the same configuration, or the like from random ids.
//
// Invariant: batches are made by the trainer's own path (make_step_batch) whatever the source. Order of
// calls: StepData -> resolve the vocabulary by file() -> plan(), sequences().
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "data/sequences.h"
#include "data/token_file.h"
#include "run/run_config.h"
#include "train/batch_source.h"

namespace rse {

inline constexpr int64_t kSyntheticVocabulary =
    30000;  // where the configuration leaves model.vocab_size open

class StepData {
 public:
  // Opens data.train. Where it does not exist, or with `synthetic`, it writes a temporary token file instead:
  // documents of exactly data.seq_len ordinary ids, uniform and drawn from `seed`, for at least four steps;
  // the file is removed at once and its mapping stays.
  StepData(const RunConfig& config, bool synthetic, uint64_t seed);

  const TokenFile& file() const { return *file_; }
  const SequenceSet& sequences() const { return *sequences_; }
  const BatchPlan& plan() const { return plan_; }  // of the first seed alone
  uint64_t seed() const { return plan_.seeds.front(); }
  bool synthetic() const { return synthetic_; }
  // Where the batches come from, in words.
  const std::string& description() const { return description_; }

  StepBatch batch(int64_t step) const;

  // Tokens per second that one thread of this process makes into batches, building nothing else meanwhile:
  // over at least two steps and a quarter of a second.
  double tokens_per_second() const;

 private:
  bool synthetic_;
  BatchPlan plan_;
  std::unique_ptr<TokenFile> file_;
  std::unique_ptr<SequenceSet> sequences_;
  std::string description_;
};

}  // namespace rse
