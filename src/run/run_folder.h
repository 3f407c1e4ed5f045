// The folder of a run: what it holds, who may write to it, and when.
//
//   config.yaml     the configuration in effect     log.txt         what the terminal showed
//   metrics.jsonl   what was measured               tensorboard/    the same for TensorBoard
//   checkpoints/    step-N (run/checkpoint.h)       summary.json    once the run is finished
//   run.lock        held by the process that trains
//
// Invariants: a folder holds a run from the moment in which its config.yaml is there, and it is written to only
// under its lock. Order of calls: NewRunFolder -> begin() for a new run; require_run() -> RunLock ->
// remove_leftovers() for one that goes on.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "core/new_folder.h"

namespace rse {

// Whether `folder` holds a run, begun by this project's programs.
bool holds_run(const std::filesystem::path& folder);

// UserError naming --resume where `folder` holds a run or parts of one: such a folder is never overwritten.
// Other files may lie in it (a log of the job that starts the run, say).
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

// The folder of a run that begins, made where it is missing and locked. Any folder that may be written to will
// do: a link to one, a mount point, the current one, one with other files in it.
class NewRunFolder {
 public:
  // UserError where it cannot be made, is in use, or holds a run. What a killed process left of a run that it had
  // not begun yet is removed.
  explicit NewRunFolder(const std::filesystem::path& folder);

  // Writes what the run begins with. prepare(staging) fills `staging`, an empty folder inside the run folder, whose
  // entries are moved into the run folder then; config.yaml, which makes it a run, comes last. Where anything
  // fails, nothing of the run stays.
  void begin(const std::string& config_yaml,
             const std::function<void(const std::filesystem::path& staging)>& prepare = {});

  const RunLock& lock() const { return *lock_; }

 private:
  std::filesystem::path folder_;
  NewFolder made_;
  std::unique_ptr<const RunLock> lock_;
};

// Removes what a killed process left half-written, files and folders of the names that only this project's
// programs give, and logs each. The caller holds the lock.
void remove_leftovers(const std::filesystem::path& folder);

}  // namespace rse
