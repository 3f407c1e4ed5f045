#include "core/new_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/file.h"

namespace rse {

NewFolder::NewFolder(const std::filesystem::path& path) {
  std::filesystem::path folder;
  for (const std::filesystem::path& part : path) {
    folder /= part;
    if (::mkdir(folder.c_str(), 0777) == 0) {
      made_.push_back(folder);
      sync_directory(folder.parent_path());
      continue;
    }
    // mkdir may fail for other reasons on a parent that exists, so what counts is whether it is a folder.
    const int code = errno;
    struct stat status {};
    if (::stat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) continue;
    for (auto made = made_.rbegin(); made != made_.rend(); ++made) ::rmdir(made->c_str());
    throw_user_error("cannot make folder {}: {}", path.string(),
                     std::strerror(code == EEXIST ? ENOTDIR : code));
  }
}

NewFolder::~NewFolder() {
  // rmdir fails where a folder is not empty, as it should.
  for (auto made = made_.rbegin(); made != made_.rend(); ++made) ::rmdir(made->c_str());
}

}  // namespace rse
