#include "core/atomic_folder.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/check.h"
#include "core/file.h"
#include "core/new_folder.h"

namespace rse {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail_to_rename(const fs::path& from, const fs::path& to, int code) {
  throw_user_error("cannot rename {} to {}: {}", from.string(), to.string(), std::strerror(code));
}

}  // namespace

void make_folder_atomically(const fs::path& target, const fs::path& temporary,
                            const std::function<void(const fs::path&)>& write) {
  NewFolder parents(target.parent_path());
  std::error_code error;
  fs::create_directory(temporary, error);
  if (error) throw_user_error("cannot create {}: {}", temporary.string(), error.message());
  try {
    write(temporary);
    sync_directory(temporary);
    if (!rename_to_new(temporary, target)) fail_to_rename(temporary, target, EEXIST);
  } catch (...) {
    try {
      remove_tree(temporary);
    } catch (const UserError& second) {
      spdlog::warn("{}", second.what());  // the first error is the one to report
    }
    throw;
  }
  parents.keep();
  sync_directory(target.parent_path());
}

bool rename_to_new(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno == EEXIST) return false;
  if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) return rename_over_claim(from, to);
  fail_to_rename(from, to, errno);
}

bool rename_over_claim(const fs::path& from, const fs::path& to) {
  if (::mkdir(to.c_str(), 0777) != 0) {
    if (errno == EEXIST) return false;
    fail_to_rename(from, to, errno);
  }
  if (::rename(from.c_str(), to.c_str()) == 0) return true;
  const int code = errno;
  // Somebody who does not ask for claims may have put a file into the folder or have taken it away.
  if (code == ENOTEMPTY || code == EEXIST) return false;
  ::rmdir(to.c_str());
  fail_to_rename(from, to, code);
}

}  // namespace rse
