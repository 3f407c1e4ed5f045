#include "run/retention.h"

#include <spdlog/spdlog.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/file.h"
#include "core/logging.h"
#include "run/checkpoint.h"

namespace rse {

namespace fs = std::filesystem;

void remove_old_checkpoints(const fs::path& run_folder, int64_t keep, std::optional<int64_t> best) {
  const std::vector<int64_t> steps = complete_checkpoints(run_folder);
  for (size_t i = 0; i + static_cast<size_t>(keep) < steps.size(); ++i) {
    if (steps[i] == best) continue;
    const fs::path folder = checkpoint_folder(run_folder, steps[i]);
    if (const auto foreign = foreign_entry(folder)) {
      spdlog::warn("{}: kept, because '{}' in it is no part of a checkpoint", folder.string(), *foreign);
    } else {
      remove_checkpoint(folder);
    }
  }
}

void remove_unfinished_checkpoints(const fs::path& run_folder) {
  std::vector<fs::path> unfinished;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(run_folder / "checkpoints", missing)) {
    if (is_unfinished_checkpoint(entry.path())) unfinished.push_back(entry.path());
  }
  for (const fs::path& path : unfinished) {
    remove_tree(path);
    spdlog::warn("{}: removed: a process was killed while it wrote or removed this checkpoint",
                 path.string());
  }
}

CheckpointDisk checkpoint_disk(const RunSettings& settings, int64_t parameters) {
  const CheckpointConfig& config = settings.checkpoint;
  const int64_t steps = settings.train.steps;
  const int64_t every = config.every == 0 ? steps : config.every;
  const int64_t saves = (steps + every - 1) / every + 1;  // a signal that stops the run saves one more
  return {3 * 4 * parameters, std::min(saves, config.keep + (config.keep_best ? 1 : 0) + 1)};
}

int64_t free_bytes(const fs::path& folder) {
  fs::path existing = fs::absolute(folder);
  while (!fs::exists(existing) && existing.has_relative_path()) existing = existing.parent_path();
  struct statvfs status {};
  if (::statvfs(existing.c_str(), &status) != 0) {
    throw_user_error("cannot tell the free space of {}: {}", existing.string(), std::strerror(errno));
  }
  return static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize);
}

void check_free_space(const fs::path& run_folder, const CheckpointDisk& disk) {
  const auto present = static_cast<int64_t>(complete_checkpoints(run_folder).size());
  const int64_t needed = std::max<int64_t>(0, disk.at_once - present) * disk.each;
  const int64_t available = free_bytes(run_folder);
  if (needed <= available) return;
  throw_user_error(
      "run folder {}: {} free, but its checkpoints need {} more ({} each, up to {} at once): expected more "
      "free space, a smaller checkpoint.keep, or checkpoint.keep_best: false",
      run_folder.string(), format_bytes(static_cast<double>(available)),
      format_bytes(static_cast<double>(needed)), format_bytes(static_cast<double>(disk.each)), disk.at_once);
}

}  // namespace rse
