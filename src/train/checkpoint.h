// Checkpoints: a folder step-N with everything that a run needs to go on from update N.
//
//   LABEL.model.safetensors, LABEL.optimizer.safetensors   of each replica (LABEL: "rse.seed1")
//   trainer.json        counters of the run and of each replica
//   config.yaml         the effective configuration
//   tokenizer.model     the serialized SentencePiece model
//   COMPLETE            JSON: bytes and XXH64 of every file above; written last
//
// Invariant: a folder named step-N appears with all its files synced, COMPLETE among them, or not at all; a
// folder whose COMPLETE is missing (half removed) does not count. Data order, masks and dropout need no
// state: they are functions of (seed, step).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "train/replica.h"

namespace rse {

struct ReplicaState {
  std::string arm;
  uint64_t seed = 0;
  ReplicaCounters counters;
};

struct TrainerState {
  int64_t step = 0;  // updates that every replica has made
  std::vector<ReplicaState> replicas;
};

// Writes checkpoints/step-N under `run_folder`, then removes complete ones beyond the `keep` newest.
// UserError where step-N is there already, or where a file cannot be written (then nothing of it stays).
std::filesystem::path save_checkpoint(const std::filesystem::path& run_folder, int64_t step,
                                      const std::vector<Replica*>& replicas, const std::string& config_yaml,
                                      std::string_view tokenizer_model, int64_t keep);

// Steps of the complete checkpoints under `run_folder`, increasing.
std::vector<int64_t> complete_checkpoints(const std::filesystem::path& run_folder);
std::filesystem::path checkpoint_folder(const std::filesystem::path& run_folder, int64_t step);

// Compares every file with COMPLETE: size and checksum. UserError naming the file.
void verify_checkpoint(const std::filesystem::path& checkpoint);

TrainerState read_trainer_state(const std::filesystem::path& checkpoint);

// Weights, optimizer state and counters of `replica` from a checkpoint that verify_checkpoint() passed.
void load_replica(const std::filesystem::path& checkpoint, const TrainerState& state, Replica& replica);

// Disk that one checkpoint of a model with `parameters` needs a replica: weights and two moments in float32.
inline int64_t checkpoint_bytes(int64_t parameters) { return 3 * 4 * parameters; }

}  // namespace rse
