#include "core/atomic_folder.h"

#include <spdlog/spdlog.h>

#include "core/check.h"
#include "core/file.h"
#include "core/new_folder.h"

namespace rse {

namespace fs = std::filesystem;

void make_folder_atomically(const fs::path& target, const fs::path& temporary,
                            const std::function<void(const fs::path&)>& write) {
  NewFolder parents(target.parent_path());
  std::error_code error;
  fs::create_directory(temporary, error);
  if (error) throw_user_error("cannot create {}: {}", temporary.string(), error.message());
  try {
    write(temporary);
    sync_directory(temporary);
    fs::rename(temporary, target, error);
    if (error) {
      throw_user_error("cannot rename {} to {}: {}", temporary.string(), target.string(), error.message());
    }
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

}  // namespace rse
