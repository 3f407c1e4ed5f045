#include "core/new_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/file.h"

namespace rse {

NewFolder::NewFolder(const std::filesystem::path& path) {
  // Another process that made a parent may fail and take it away again before this one has used it.
  constexpr int kAttempts = 100;
  for (int attempt = 1; !make(path, attempt == kAttempts); ++attempt) {
  }
}

bool NewFolder::make(const std::filesystem::path& path, bool last_attempt) {
  std::filesystem::path folder;
  for (const std::filesystem::path& part : path) {
    folder /= part;
    if (::mkdir(folder.c_str(), 0777) == 0) {
      made_.push_back(folder);
      continue;
    }
    // mkdir may fail for other reasons on a parent that exists, so what counts is whether it is a folder.
    const int code = errno;
    struct stat status {};
    if (::stat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) continue;
    remove_made();
    const bool vanished = code == ENOENT || (code == EEXIST && ::lstat(folder.c_str(), &status) != 0);
    if (vanished && !last_attempt) return false;
    throw_user_error("cannot make folder {}: {}", path.string(),
                     std::strerror(code == EEXIST ? ENOTDIR : code));
  }
  // Only now: a sync takes long, and until the next folder lies in it, a parent can be taken away.
  try {
    for (const std::filesystem::path& made : made_) sync_directory(made.parent_path());
  } catch (const UserError&) {
    remove_made();
    throw;
  }
  return true;
}

void NewFolder::remove_made() {
  // rmdir fails where a folder is not empty, as it should.
  for (auto made = made_.rbegin(); made != made_.rend(); ++made) ::rmdir(made->c_str());
  made_.clear();
}

NewFolder::~NewFolder() { remove_made(); }

}  // namespace rse
