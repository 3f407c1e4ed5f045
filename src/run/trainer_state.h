// trainer.json of a checkpoint: what a run needs beside tensors and configuration to go on as if it had never
// stopped.
//
// Invariant: its size is bounded, whatever the step. The order of the data, masks and dropout are not in it,
// because they are functions of the seed and the step (run/update_sizes.h, train/global_micro_batch.h).
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/token_file.h"

namespace rse {

// Says what a token file held when a run trained on it.
struct DataFingerprint {
  uint64_t documents = 0;
  uint64_t tokens = 0;
  uint64_t fingerprint = 0;  // TokenFile::fingerprint()
  bool operator==(const DataFingerprint&) const = default;
};

DataFingerprint fingerprint_of(const TokenFile& file);

// A checkpoint that was saved in a step of validation.
struct RankedCheckpoint {
  int64_t step = 0;
  double nll = 0;  // mean over all replicas of their validation NLL, nats
};

// How far a run has come.
struct RunProgress {
  int64_t step = 0;             // updates that every replica has made
  int64_t validation_step = 0;  // of the last validation; 0: none yet
  int64_t metrics_bytes = 0;    // size of metrics.jsonl at `step`
  std::optional<RankedCheckpoint> best;
  std::string device;  // DeviceDescription::name
  DataFingerprint train, valid;
};

// The final training loss that is reported is the mean over so many last updates.
inline constexpr size_t kRecentLosses = 50;

// The step times that are reported are those of so many last updates, so that a checkpoint does not grow with
// the step.
inline constexpr size_t kStepTimes = 1000;

// The counters of one (arm, seed).
struct ReplicaCounters {
  int64_t step = 0;  // updates so far, skipped ones among them
  int64_t tokens = 0;
  int64_t skipped = 0;
  int64_t skipped_in_a_row = 0;
  std::deque<double> recent_losses;      // of applied updates, newest last, at most kRecentLosses
  std::deque<double> step_times_ms;      // of updates, newest last, at most kStepTimes
  int64_t peak_bytes = -1;               // the largest UpdateResult::peak_bytes of all updates
  std::optional<double> validation_nll;  // of the last validation, nats
};

struct ReplicaState {
  std::string arm;
  uint64_t seed = 0;
  ReplicaCounters counters;
};

struct TrainerState : RunProgress {
  std::vector<ReplicaState> replicas;
};

// Writes CHECKPOINT/trainer.json.
void write_trainer_state(const std::filesystem::path& checkpoint, const TrainerState& state);

// Reads it. UserError naming the file where it is damaged or of another version.
TrainerState read_trainer_state(const std::filesystem::path& checkpoint);

// UserError naming `key` and the file where `file` does not hold what the run was trained on.
void check_same_data(const char* key, const TokenFile& file, const DataFingerprint& expected);

}  // namespace rse
