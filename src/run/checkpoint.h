// A checkpoint is a folder step-N with everything that a run needs to go on from update N.
//
//   LABEL.model.safetensors, LABEL.optimizer.safetensors   of each replica (LABEL: "rse.seed1")
//   trainer.json        counters of the run and of each replica (run/trainer_state.h)
//   config.yaml         the effective configuration
//   tokenizer.model     the serialized SentencePiece model
//   COMPLETE            JSON: bytes and XXH64 of every file above; written last
//
// Invariant: a folder named step-N appears with all its files synced, COMPLETE among them, or not at all; a
// folder whose COMPLETE is missing (half removed) does not count. run/retention.h decides which ones stay.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/safetensors.h"
#include "run/trainer_state.h"

namespace rse {

// "rse.seed1": names a replica's files and its TensorBoard run.
std::string replica_label(const std::string& arm, uint64_t seed);

// One replica as a checkpoint keeps it.
struct ReplicaSnapshot {
  ReplicaState state;
  NamedTensors weights;    // parameters and buffers of the model
  NamedTensors optimizer;  // the optimizer's state
};

// Writes checkpoints/step-N under `run_folder`, N = progress.step, and returns its path. UserError where
// step-N is there already, or where a file cannot be written (then nothing of it stays).
std::filesystem::path save_checkpoint(const std::filesystem::path& run_folder, const RunProgress& progress,
                                      const std::vector<ReplicaSnapshot>& replicas,
                                      const std::string& config_yaml, std::string_view tokenizer_model);

// The steps of the complete checkpoints under `run_folder`, in increasing order.
std::vector<int64_t> complete_checkpoints(const std::filesystem::path& run_folder);
std::filesystem::path checkpoint_folder(const std::filesystem::path& run_folder, int64_t step);

// The weights and the optimizer state of a replica, named by replica_label(), in a checkpoint's folder.
std::filesystem::path model_file(const std::filesystem::path& checkpoint, const std::string& label);
std::filesystem::path optimizer_file(const std::filesystem::path& checkpoint, const std::string& label);

// The N of a folder named step-N; none for other names.
std::optional<int64_t> checkpoint_step(const std::filesystem::path& folder);
// True where the folder has its mark. Its files are not read.
bool is_complete_checkpoint(const std::filesystem::path& folder);
// Removes a checkpoint. The mark goes first, so that a removal that is cut short never leaves a folder that
// looks complete.
void remove_checkpoint(const std::filesystem::path& folder);

// Compares every file with COMPLETE: size and checksum. UserError naming the file.
void verify_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace rse
