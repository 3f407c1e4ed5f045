// The folder of a run: what it holds, who may write to it, and when.
//
//   config.yaml     the configuration in effect     log.txt         what the terminal showed
//   metrics.jsonl   what was measured               tensorboard/    the same for TensorBoard
//   checkpoints/    step-N (run/checkpoint.h)       summary.json    once the run is finished
//   run.lock        held by the process that trains
//
// Invariants: config.yaml is there from the start of a run, and a folder that holds a run is written to only
// under its lock. Order of calls: refuse_existing_run() -> NewFolder (core/new_folder.h) -> RunLock for a new
// run; require_run() -> RunLock -> remove_leftovers() for one that goes on.
#pragma once

#include <filesystem>

namespace rse {

// UserError naming --resume where `folder` holds a run: such a folder is never overwritten.
void refuse_existing_run(const std::filesystem::path& folder);

// UserError where `folder` holds no run or is a checkpoint.
void require_run(const std::filesystem::path& folder);

// The right of one process to write into a run folder: an exclusive lock on run.lock, which the kernel
// releases when the process ends, however it ends.
class RunLock {
 public:
  // UserError naming the process that holds the lock already.
  explicit RunLock(const std::filesystem::path& folder);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  // UserError where the folder's run.lock is no longer the one held: the folder was moved, removed or
  // replaced.
  void require_held() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

// Removes what a killed process left half-written. The caller holds the lock.
void remove_leftovers(const std::filesystem::path& folder);

}  // namespace rse
