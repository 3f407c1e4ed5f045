// A checkpoint is a folder step-N with everything that a run needs to go on from update N.
//
//   LABEL.model.safetensors, LABEL.optimizer.safetensors   of each replica (LABEL: "rse.seed1")
//   trainer.json        counters of the run and of each replica (run/trainer_state.h)
//   config.yaml         the effective configuration
//   tokenizer.model     the serialized SentencePiece model
//   COMPLETE            JSON: bytes and XXH64 of every file above; written last
//
// Invariants: a folder named step-N appears with all its files synced, COMPLETE among them, and goes in one step;
// what is being written or removed bears a hidden name (is_unfinished_checkpoint). So a step-N without COMPLETE
// was damaged by somebody else (a copy that was cut short, say): it does not count, and nothing here removes it.
// run/retention.h decides which checkpoints stay.
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

// Writes checkpoints/step-N under `run_folder`, N = progress.step, and returns its path. A step-N without
// COMPLETE gets out of the way under the name step-N.incomplete, with a warning. UserError where step-N is there
// already, or where a file cannot be written (then nothing of it stays).
std::filesystem::path save_checkpoint(const std::filesystem::path& run_folder, const RunProgress& progress,
                                      const std::vector<ReplicaSnapshot>& replicas,
                                      const std::string& config_yaml, std::string_view tokenizer_model);

// The steps of the complete checkpoints under `run_folder`, and those of folders step-N without COMPLETE, in
// increasing order.
std::vector<int64_t> complete_checkpoints(const std::filesystem::path& run_folder);
std::vector<int64_t> incomplete_checkpoints(const std::filesystem::path& run_folder);
std::filesystem::path checkpoint_folder(const std::filesystem::path& run_folder, int64_t step);

// The weights and the optimizer state of a replica, named by replica_label(), in a checkpoint's folder.
std::filesystem::path model_file(const std::filesystem::path& checkpoint, const std::string& label);
std::filesystem::path optimizer_file(const std::filesystem::path& checkpoint, const std::string& label);

// The N of a folder named step-N; none for other names.
std::optional<int64_t> checkpoint_step(const std::filesystem::path& folder);
// True where the folder has its mark. Its files are not read.
bool is_complete_checkpoint(const std::filesystem::path& folder);
// True for the hidden names that a checkpoint bears while it is written or removed.
bool is_unfinished_checkpoint(const std::filesystem::path& folder);
// The name of something in a complete checkpoint that its COMPLETE does not list, such as a user's notes.
std::optional<std::string> foreign_entry(const std::filesystem::path& checkpoint);
// Removes a checkpoint. It gets a hidden name first, so that a removal that is cut short leaves no step-N.
void remove_checkpoint(const std::filesystem::path& folder);

// Compares every file with COMPLETE: size and checksum. UserError naming the file.
void verify_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace rse
