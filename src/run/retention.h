// Decides which checkpoints of a run stay, and how much disk they need.
//
// The `keep` newest stay, and with keep_best the one with the lowest validation NLL. Invariant: a checkpoint
// is removed only after a newer one is complete and synced, so that at least one complete checkpoint exists
// at every moment after the first was saved.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "run/run_config.h"

namespace rse {

// Removes the complete checkpoints under `run_folder` but the `keep` newest and the one of step `best`. One that holds
// anything else stays, with a warning.
void remove_old_checkpoints(const std::filesystem::path& run_folder, int64_t keep,
                            std::optional<int64_t> best);

// Removes the checkpoints that a killed process was writing or removing (is_unfinished_checkpoint), and logs
// each. A step-N without its mark is no such one and stays. Only the process that holds the run's lock may call
// it.
void remove_unfinished_checkpoints(const std::filesystem::path& run_folder);

struct CheckpointDisk {
  int64_t each = 0;     // bytes of one checkpoint, approximately
  int64_t at_once = 0;  // the most checkpoints at one time, counting the one that is being written
  int64_t total() const { return each * at_once; }
};

// parameters: those of all replicas together. Each has a weight and two moments in float32.
CheckpointDisk checkpoint_disk(const RunSettings& settings, int64_t parameters);

// Bytes that a user without privileges can still write into `folder`, which need not exist yet.
int64_t free_bytes(const std::filesystem::path& folder);

// UserError where the checkpoints of a run, those already in `run_folder` counted, cannot fit on the disk.
void check_free_space(const std::filesystem::path& run_folder, const CheckpointDisk& disk);

}  // namespace rse
