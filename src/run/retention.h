// Which checkpoints of a run stay, and what disk they need.
//
// The `keep` newest stay, and (keep_best) the one with the lowest validation NLL. Removal comes only after a
// newer checkpoint is complete and synced, so at every moment at least one complete checkpoint exists once
// the first was saved.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "run/run_config.h"

namespace rse {

// Removes complete checkpoints under `run_folder` beyond the `keep` newest, but for step `best`.
void remove_old_checkpoints(const std::filesystem::path& run_folder, int64_t keep,
                            std::optional<int64_t> best);

// Removes what a killed process left in checkpoints/: folders without their mark, and temporary ones. Only
// for the process that holds the run's lock.
void remove_unfinished_checkpoints(const std::filesystem::path& run_folder);

struct CheckpointDisk {
  int64_t each = 0;     // bytes of one checkpoint, about
  int64_t at_once = 0;  // most checkpoints at one time, the one being written among them
  int64_t total() const { return each * at_once; }
};

// parameters: of all replicas together. Weights and two moments in float32, and little else.
CheckpointDisk checkpoint_disk(const RunSettings& settings, int64_t parameters);

// Bytes that a user without privileges can still write into `folder`, which need not exist yet.
int64_t free_bytes(const std::filesystem::path& folder);

// UserError where the checkpoints of a run, those already in `run_folder` counted, cannot fit on the disk.
void check_free_space(const std::filesystem::path& run_folder, const CheckpointDisk& disk);

}  // namespace rse
