#include "core/new_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/check.h"

namespace rse {

NewFolder::NewFolder(const std::filesystem::path& path) {
  std::filesystem::path folder;
  for (const std::filesystem::path& part : path) {
    folder /= part;
    if (::mkdir(folder.c_str(), 0777) == 0) {
      made_.push_back(folder);
      continue;
    }
    const int code =
        errno;  // other than "exists" where a parent is not ours to write: what matters is the last
    struct stat status {};
    if (::stat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) continue;
    for (auto made = made_.rbegin(); made != made_.rend(); ++made) ::rmdir(made->c_str());
    throw_user_error("cannot make folder {}: {}", path.string(),
                     std::strerror(code == EEXIST ? ENOTDIR : code));
  }
}

NewFolder::~NewFolder() {
  for (auto made = made_.rbegin(); made != made_.rend(); ++made)
    ::rmdir(made->c_str());  // fails where not empty
}

}  // namespace rse
