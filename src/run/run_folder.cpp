#include "run/run_folder.h"

#include <fcntl.h>
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

void refuse_existing_run(const fs::path& folder) {
  for (const char* name : {"config.yaml", "metrics.jsonl", "checkpoints", "summary.json"}) {
    if (fs::exists(folder / name)) {
      throw_user_error(
          "run folder {} already holds a run ({}): "
          "go on with it by --resume, or pass a new folder with --output",
          folder.string(), name);
    }
  }
}

void require_run(const fs::path& folder) {
  if (fs::exists(folder / "COMPLETE") || fs::exists(folder / "trainer.json")) {
    throw_user_error("--resume: {} is a checkpoint outside its run: expected RUN or RUN/checkpoints/step-N",
                     folder.string());
  }
  if (fs::is_regular_file(folder / "config.yaml")) return;
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

void remove_leftovers(const fs::path& folder) {
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (is_temporary_name(entry.path().filename().string())) leftovers.push_back(entry.path());
  }
  for (const fs::path& path : leftovers) remove_tree(path);
  remove_unfinished_checkpoints(folder);
}

}  // namespace rse
