#include "core/output_path.h"

#include "core/check.h"

namespace rse {

namespace fs = std::filesystem;

namespace {

bool lies_in(const fs::path& output, const fs::path& folder) {
  std::error_code missing;
  const fs::path whole = fs::canonical(folder, missing);
  if (missing) return false;
  for (fs::path part = fs::weakly_canonical(fs::absolute(output).parent_path(), missing);;
       part = part.parent_path()) {
    if (part == whole) return true;
    if (part == part.root_path() || part.empty()) return false;
  }
}

void expect_not_read(const fs::path& output, const fs::path& read) {
  std::error_code missing;
  if (fs::equivalent(read, output, missing)) {
    throw_user_error("cannot write {}: {} is read, and would be lost: expected another output",
                     output.string(), read.string());
  }
  if (fs::exists(output, missing) && fs::is_directory(read, missing) && lies_in(output, read)) {
    throw_user_error(
        "cannot write {}: it lies in {}, which is read, and would be lost: expected another output",
        output.string(), read.string());
  }
}

}  // namespace

void expect_not_read(const std::vector<fs::path>& outputs, const std::vector<fs::path>& read) {
  for (const fs::path& output : outputs) {
    for (const fs::path& path : read) expect_not_read(output, path);
  }
}

}  // namespace rse
