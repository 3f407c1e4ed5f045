#include "core/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace rse {

FolderLock::FolderLock(const std::filesystem::path& folder)
    : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ < 0) {
    state_ = errno == ENOENT ? State::kTaken : State::kUnknown;
    return;
  }
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    state_ = errno == EWOULDBLOCK ? State::kTaken : State::kUnknown;
    return;
  }
  // Another process may have renamed or removed the folder between opening and locking.
  struct stat mine {
  }, there{};
  const bool same = ::fstat(descriptor_, &mine) == 0 && ::stat(folder.c_str(), &there) == 0 &&
                    mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
  state_ = same ? State::kHeld : State::kTaken;
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace rse
