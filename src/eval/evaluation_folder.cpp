#include "eval/evaluation_folder.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <optional>
#include <utility>

#include "core/atomic_folder.h"
#include "core/check.h"
#include "core/file.h"
#include "core/folder_lock.h"
#include "core/new_folder.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporaryEnd = ".tmp";

// The nearest folder above `path` that exists.
fs::path existing_parent(fs::path path) {
  std::error_code ignored;
  do {
    path = path.parent_path();
  } while (!fs::exists(path, ignored) && path != path.parent_path());
  return path;
}

// ".NAME.PROCESS.tmp" beside NAME.
fs::path temporary_of(const fs::path& folder) {
  return folder.parent_path() /
         fmt::format(".{}.{}{}", folder.filename().string(), ::getpid(), kTemporaryEnd);
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && value > 0 ? std::optional(value) : std::nullopt;
}

// The NAME and the process of a temporary folder's name.
struct TemporaryName {
  std::string name;
  int64_t process = 0;
};

std::optional<TemporaryName> parse_temporary(const std::string& text) {
  if (!text.starts_with('.') || !text.ends_with(kTemporaryEnd)) return std::nullopt;
  const std::string middle = text.substr(1, text.size() - 1 - kTemporaryEnd.size());
  const size_t dot = middle.rfind('.');
  if (dot == std::string::npos) return std::nullopt;
  const auto process = whole_number(std::string_view(middle).substr(dot + 1));
  return process ? std::optional(TemporaryName{middle.substr(0, dot), *process}) : std::nullopt;
}

// True for folders that hold nothing but files of an evaluation.
bool holds_results_only(const fs::path& folder) {
  constexpr std::string_view kFiles[] = {"results.jsonl", "results.csv", "targets.safetensors",
                                         "evaluation.json"};
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const auto begins = [&](std::string_view file) {
      return name == file || (name.starts_with(file) && is_temporary_name(name));
    };
    if (std::none_of(std::begin(kFiles), std::end(kFiles), begins)) return false;
  }
  return true;
}

// Where the process runs on this machine. One of this process's own number is an earlier one (in a container).
bool runs_here(int64_t process) {
  if (process == ::getpid()) return false;
  return ::kill(static_cast<pid_t>(process), 0) == 0 || errno != ESRCH;
}

}  // namespace

EvaluationFolder::EvaluationFolder(fs::path run_folder, const std::string& wanted)
    : run_folder_(std::move(run_folder)) {
  if (!wanted.empty()) {
    wanted_ = fs::absolute(wanted).lexically_normal();
    if (!wanted_.has_filename()) wanted_ = wanted_.parent_path();
  }
  std::error_code ignored;
  const fs::path folder = candidate(1);
  if (!wanted_.empty() && fs::exists(fs::symlink_status(folder, ignored))) {
    throw_user_error("--output: '{}' is there already: expected a new folder", wanted);
  }
  const fs::path parent = existing_parent(folder);
  if (!fs::is_directory(parent, ignored) || ::access(parent.c_str(), W_OK) != 0) {
    throw_user_error("--output: '{}': cannot be made: {} is not a folder that may be written to",
                     folder.string(), parent.string());
  }
}

fs::path EvaluationFolder::candidate(int64_t n) const {
  if (wanted_.empty()) return run_folder_ / fmt::format("evaluation-{}", n);
  return n == 1 ? wanted_ : fs::path(fmt::format("{}-{}", wanted_.string(), n));
}

fs::path EvaluationFolder::name_folder(const fs::path& folder, int64_t n) const {
  while (!rename_to_new(folder, candidate(n))) ++n;
  sync_directory(candidate(n).parent_path());
  return candidate(n);
}

std::vector<fs::path> EvaluationFolder::leftovers() const {
  const std::string first = candidate(1).filename().string();
  const std::string stem = wanted_.empty() ? "evaluation" : first;
  std::vector<fs::path> found;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(candidate(1).parent_path(), missing)) {
    const auto temporary = parse_temporary(entry.path().filename().string());
    if (!temporary || !entry.is_directory() || entry.is_symlink()) continue;
    const bool numbered = temporary->name.starts_with(stem + "-") &&
                          whole_number(std::string_view(temporary->name).substr(stem.size() + 1));
    if (temporary->name != first && !numbered) continue;
    if (!runs_here(temporary->process)) found.push_back(entry.path());
  }
  return found;
}

void EvaluationFolder::take_care_of(const fs::path& leftover) const {
  const FolderLock lock(leftover);
  if (lock.state() == FolderLock::State::kTaken) return;  // an evaluation on another machine writes it
  if (lock.state() == FolderLock::State::kUnknown || !holds_results_only(leftover)) {
    spdlog::warn("{}: looks like what a killed evaluation left: remove it if none writes there",
                 leftover.string());
  } else if (fs::exists(leftover / "evaluation.json")) {  // it is written last
    const fs::path folder = name_folder(leftover, wanted_.empty() ? 1 : 2);
    spdlog::warn("{}: the complete results of an evaluation that was killed: they are in {} now",
                 leftover.string(), folder.string());
  } else {
    remove_tree(leftover);
    spdlog::warn("{}: removed: the unfinished results of an evaluation that was killed", leftover.string());
  }
}

void EvaluationFolder::take_care_of_leftovers() const {
  for (const fs::path& leftover : leftovers()) {
    try {
      take_care_of(leftover);
    } catch (const std::runtime_error& error) {  // UserError, std::filesystem's: no reason not to evaluate
      spdlog::warn("{}: what a killed evaluation left: {}", leftover.string(), error.what());
    }
  }
}

EvaluationFolder::Made EvaluationFolder::make(const std::function<void(const fs::path&)>& write) const {
  NewFolder parent(candidate(1).parent_path());
  fs::path temporary;
  std::optional<FolderLock> lock;
  // A name may be taken by what a killed process of the same number left.
  for (int64_t n = 1; !lock || lock->state() == FolderLock::State::kTaken; ++n) {
    temporary = temporary_of(candidate(n));
    lock.reset();
    if (::mkdir(temporary.c_str(), 0777) == 0) {
      lock.emplace(temporary);
    } else if (errno != EEXIST) {
      throw_user_error("cannot make folder {}: {}", temporary.string(), std::strerror(errno));
    }
  }
  try {
    write(temporary);
    sync_directory(temporary);
  } catch (...) {
    remove_tree(temporary);
    throw;
  }
  parent.keep();
  try {
    const fs::path folder = name_folder(temporary, 1);
    return {folder, wanted_.empty() || folder == wanted_};
  } catch (const UserError& error) {
    throw_user_error("{}: the results are complete and stay in {}", error.what(), temporary.string());
  }
}

}  // namespace rse
