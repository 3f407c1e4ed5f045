// trainer.json of a checkpoint: what a run needs beside tensors and configuration to go on as if it had never
// stopped. Its size is bounded, whatever the step; data order, masks and dropout are not in it, as they are
// functions of (seed, step).
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/token_file.h"

namespace rse {

// What a token file held when it was trained on.
struct DataFingerprint {
  uint64_t documents = 0;
  uint64_t tokens = 0;
  uint64_t fingerprint = 0;  // TokenFile::fingerprint()
  bool operator==(const DataFingerprint&) const = default;
};

DataFingerprint fingerprint_of(const TokenFile& file);

// A checkpoint that was validated in the step of its saving.
struct RankedCheckpoint {
  int64_t step = 0;
  double nll = 0;  // mean over all replicas of their validation NLL, nats
};

// How far a run is.
struct RunProgress {
  int64_t step = 0;             // updates that every replica has made
  int64_t validation_step = 0;  // of the last validation; 0: none yet
  int64_t metrics_bytes = 0;    // size of metrics.jsonl at `step`
  std::optional<RankedCheckpoint> best;
  std::string device;  // DeviceDescription::name
  DataFingerprint train, valid;
};

// The reported final training loss is the mean over this many last updates.
inline constexpr size_t kRecentLosses = 50;

// Reported step times are those of this many last updates: more would make a checkpoint grow with the step.
inline constexpr size_t kStepTimes = 1000;

// Counters of one (arm, seed).
struct ReplicaCounters {
  int64_t step = 0;  // updates tried
  int64_t tokens = 0;
  int64_t skipped = 0;
  int64_t skipped_in_a_row = 0;
  std::deque<double> recent_losses;      // of applied updates, newest last, at most kRecentLosses
  std::deque<double> step_times_ms;      // of updates, newest last, at most kStepTimes
  int64_t peak_bytes = -1;               // largest of all updates
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

// UserError naming `key` and the file where it does not hold what the run was trained on.
void check_same_data(const char* key, const TokenFile& file, const DataFingerprint& expected);

}  // namespace rse
