// One (arm, seed) of a run with its model, its optimizer and its counters.
//
// Order of calls: Replica -> update() in each step -> read() of the pending update, at most one step later,
// so that the host need not wait for the device. Invariant: the state is the parameters, the optimizer's
// state and the counters; every random draw is keyed by the seed and global_micro_batch(), so a replica with
// loaded state continues as if it had never stopped.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eval/device_batch.h"
#include "nn/encoder.h"
#include "run/checkpoint.h"
#include "run/device.h"
#include "run/run_config.h"
#include "run/trainer_state.h"
#include "run/weights.h"
#include "train/optimizer.h"

namespace rse {

// The run ends after so many skipped updates in a row.
inline constexpr int64_t kMaxSkippedInARow = 5;

// The measurements of one update.
struct UpdateResult {
  int64_t step = 0;   // counted from 0
  int64_t order = 0;  // the place of the arm in this step
  int64_t tokens = 0;
  LearningRates rates;
  double loss = 0;  // mean over the update's targets, in nats
  double grad_norm = 0;
  bool skipped = false;
  double step_ms = 0;
  int64_t peak_bytes = -1;  // above what was allocated before the update; -1: not counted
};

class Replica {
 public:
  Replica(const ArmConfig& arm, uint64_t seed, const TrainConfig& train, const torch::Device& device);

  // An update on its way through the device.
  struct Pending {
    UpdateResult known;  // what the host knows already
    StepClock clock;
    torch::Tensor numbers;  // [3] on the host: loss, gradient norm, skipped; valid once the clock has stopped
  };

  // Makes one update on the micro-batches of `step` (from 0), which hold `targets` and `tokens` together.
  Pending update(int64_t step, const std::vector<DeviceBatch>& micro_batches, int64_t targets,
                 int64_t tokens);

  // Waits for the update and counts it. Updates are read in the order in which they were made. The caller
  // ends the run once counters.skipped_in_a_row reaches kMaxSkippedInARow.
  UpdateResult read(Pending pending);

  // Adds the gradients of the update's loss, the mean over `targets`, and returns it as a scalar on the
  // device.
  torch::Tensor backward(int64_t step, const std::vector<DeviceBatch>& micro_batches, int64_t targets);

  const ArmConfig& arm() const { return arm_; }
  uint64_t seed() const { return seed_; }
  std::string label() const;  // replica_label() of run/checkpoint.h
  Encoder& encoder() { return encoder_; }
  const AdamW& optimizer() const { return optimizer_; }
  const torch::Device& device() const { return device_; }
  LearningRates rates(int64_t step) const;
  UpdateSizes update_sizes() const { return train_.update_sizes(); }

  ReplicaCounters counters;

  NamedTensors weights() const { return weights_of(*encoder_); }

  // What a checkpoint keeps of this replica. The tensors are the replica's own, so they are saved before the
  // next update.
  ReplicaSnapshot snapshot() const;
  // Takes over weights, optimizer state and counters from a checkpoint that passed verify_checkpoint().
  // state: read_trainer_state(checkpoint). UserError where the checkpoint has no such replica, or where its
  // files do not fit the model; then nothing has changed.
  void restore(const std::filesystem::path& checkpoint, const TrainerState& state);

 private:
  ArmConfig arm_;
  uint64_t seed_;
  TrainConfig train_;
  torch::Device device_;
  Encoder encoder_;
  AdamW optimizer_;
};

}  // namespace rse
