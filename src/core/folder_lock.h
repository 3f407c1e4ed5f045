// A lock on a folder, for programs that must not work in it at once.
//
// Invariant: the kernel releases the lock when its process ends, however it ends; nothing is written into the folder.
#pragma once

#include <filesystem>

namespace rse {

class FolderLock {
 public:
  // kTaken: another process holds the lock, or has removed or renamed the folder. kUnknown: the file system has no
  // such locks, or the folder may not be opened.
  enum class State { kHeld, kTaken, kUnknown };

  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  State state() const { return state_; }

 private:
  int descriptor_;
  State state_ = State::kTaken;
};

}  // namespace rse
