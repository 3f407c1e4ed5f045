#include "run/run_folder.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "core/file.h"
#include "run/retention.h"

namespace rse {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfig = "config.yaml";

// Holds what a new run begins with until it is complete. While it is there and config.yaml is not, the entries of
// kMoved come from it.
constexpr const char* kStaging = ".new-run.tmp";
constexpr const char* kMoved[] = {"checkpoints", "metrics.jsonl"};

bool is_half_begun(const fs::path& folder) {
  return fs::is_directory(folder / kStaging) && !fs::exists(folder / kConfig);
}

// The temporary files that AtomicFile makes in a run folder.
bool is_half_written(const std::string& name) {
  return is_temporary_name(name) && (name.starts_with("config.yaml.") || name.starts_with("summary.json."));
}

std::vector<fs::path> leftovers_in(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (is_half_written(entry.path().filename().string())) found.push_back(entry.path());
  }
  if (is_half_begun(folder)) {
    for (const char* name : kMoved) {
      if (fs::exists(folder / name)) found.push_back(folder / name);
    }
  }
  if (fs::is_directory(folder / kStaging)) found.push_back(folder / kStaging);  // last: it marks the others
  return found;
}

}  // namespace

bool holds_run(const fs::path& folder) {
  std::error_code missing;
  return fs::is_regular_file(folder / kConfig, missing);
}

void refuse_existing_run(const fs::path& folder) {
  if (is_half_begun(folder)) return;
  if (fs::exists(folder / kConfig)) {
    throw_user_error(
        "run folder {} already holds a run ({}): "
        "go on with it by --resume, or pass a new folder with --output",
        folder.string(), kConfig);
  }
  for (const char* name : {"metrics.jsonl", "checkpoints", "summary.json"}) {
    if (!fs::exists(folder / name)) continue;
    throw_user_error(
        "run folder {} already holds a part of a run ({}), but no {} to go on with: pass a new folder with "
        "--output",
        folder.string(), name, kConfig);
  }
}

void require_run(const fs::path& folder) {
  if (fs::exists(folder / "COMPLETE") || fs::exists(folder / "trainer.json")) {
    throw_user_error("--resume: {} is a checkpoint outside its run: expected RUN or RUN/checkpoints/step-N",
                     folder.string());
  }
  if (holds_run(folder)) return;
  throw_user_error("--resume: {} holds no run (no config.yaml in it): expected a run folder",
                   folder.string());
}

RunLock::RunLock(const fs::path& folder) : path_(fs::absolute(folder) / "run.lock") {
  const fs::path path = folder / "run.lock";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw_user_error("cannot open {}: {}", path.string(), std::strerror(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    ::close(descriptor_);
    if (code != EWOULDBLOCK) throw_user_error("cannot lock {}: {}", path.string(), std::strerror(code));
    std::string holder = read_file(path);  // it is empty between locking and writing
    while (!holder.empty() && holder.back() == '\n') holder.pop_back();
    throw_user_error("run folder {} is in use by process {} ({}): expected no other process to train in it",
                     folder.string(), holder.empty() ? "(starting)" : holder, path.string());
  }
  const std::string process = fmt::format("{}\n", ::getpid());
  if (::ftruncate(descriptor_, 0) != 0 ||
      ::pwrite(descriptor_, process.data(), process.size(), 0) != static_cast<ssize_t>(process.size())) {
    const int code = errno;
    ::close(descriptor_);
    throw_user_error("cannot write {}: {}", path.string(), std::strerror(code));
  }
}

RunLock::~RunLock() { ::close(descriptor_); }

void RunLock::require_held() const {
  struct stat mine {
  }, there{};
  if (::fstat(descriptor_, &mine) == 0 && ::stat(path_.c_str(), &there) == 0 && mine.st_dev == there.st_dev &&
      mine.st_ino == there.st_ino) {
    return;
  }
  throw_user_error(
      "run folder {} was removed, moved or replaced while it was trained in: nothing more is written",
      path_.parent_path().string());
}

NewRunFolder::NewRunFolder(const fs::path& folder)
    : folder_(folder), made_(folder), lock_(std::make_unique<const RunLock>(folder)) {
  refuse_existing_run(folder);  // under the lock: another process may have begun one meanwhile
  remove_leftovers(folder);
}

void NewRunFolder::begin(const std::string& config_yaml,
                         const std::function<void(const fs::path& staging)>& prepare) {
  const fs::path staging = folder_ / kStaging;
  try {
    if (prepare) {
      NewFolder(staging).keep();
      prepare(staging);
      for (const char* name : kMoved) {
        if (fs::exists(staging / name)) fs::rename(staging / name, folder_ / name);
      }
      sync_directory(folder_);
    }
    write_file_atomically(folder_ / kConfig, config_yaml);
  } catch (...) {
    if (fs::is_directory(staging)) {
      for (const char* name : kMoved) remove_tree(folder_ / name);
      remove_tree(staging);
    }
    remove_tree(folder_ / "run.lock");
    throw;
  }
  remove_tree(staging);
  made_.keep();
}

void remove_leftovers(const fs::path& folder) {
  for (const fs::path& path : leftovers_in(folder)) {
    remove_tree(path);
    spdlog::warn("{}: removed: a process was killed while it wrote it", path.string());
  }
  remove_unfinished_checkpoints(folder);
}

}  // namespace rse
