#include "run/checkpoint.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>

#include "core/atomic_folder.h"
#include "core/check.h"
#include "core/file.h"
#include "core/hash.h"
#include "formats/json_file.h"
#include "formats/safetensors.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kComplete = "COMPLETE";
constexpr int64_t kFormatVersion = 1;

// What the hidden names of step-N end with while it is written and removed: ".step-N.tmp".
constexpr std::string_view kWriting = ".tmp", kRemoving = ".removed.tmp";

fs::path hidden_name(const fs::path& folder, std::string_view end) {
  return folder.parent_path() / fmt::format(".{}{}", folder.filename().string(), end);
}

std::string checksum(const fs::path& path) {
  const MappedFile file(path);
  return hex64(xxh64(file.data(), file.size()));
}

// COMPLETE: what every other file of `folder` holds.
json completion_mark(const fs::path& folder) {
  json files = json::object();
  for (const auto& entry : fs::directory_iterator(folder)) {
    files[entry.path().filename().string()] = {{"bytes", entry.file_size()},
                                               {"xxh64", checksum(entry.path())}};
  }
  return {{"version", kFormatVersion}, {"files", files}};
}

void write_files(const fs::path& folder, const RunProgress& progress,
                 const std::vector<ReplicaSnapshot>& replicas, const std::string& config_yaml,
                 std::string_view tokenizer_model) {
  TrainerState state{progress, {}};
  for (const ReplicaSnapshot& replica : replicas) {
    const std::string label = replica_label(replica.state.arm, replica.state.seed);
    write_safetensors(model_file(folder, label), replica.weights, {{"format", "pt"}});
    write_safetensors(optimizer_file(folder, label), replica.optimizer);
    state.replicas.push_back(replica.state);
  }
  write_trainer_state(folder, state);
  write_file_atomically(folder / "config.yaml", config_yaml);
  write_file_atomically(folder / "tokenizer.model", tokenizer_model);
  write_file_atomically(folder / kComplete, completion_mark(folder).dump(2) + "\n");
}

// The steps of the folders step-N that have their mark, or of those that lack it.
std::vector<int64_t> steps_in(const fs::path& run_folder, bool complete) {
  std::vector<int64_t> steps;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(run_folder / "checkpoints", missing)) {
    const std::optional<int64_t> step = checkpoint_step(entry.path());
    if (step && is_complete_checkpoint(entry.path()) == complete) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

// Gives a step-N without its mark another name, because a checkpoint of that step is saved now.
void move_aside(const fs::path& target) {
  fs::path name = target.string() + ".incomplete";
  for (int n = 2; !rename_to_new(target, name); ++n)
    name = fmt::format("{}.incomplete-{}", target.string(), n);
  spdlog::warn("{}: has no {} in it: kept as {}", target.string(), kComplete, name.string());
}

}  // namespace

std::string replica_label(const std::string& arm, uint64_t seed) {
  return fmt::format("{}.seed{}", arm, seed);
}

fs::path model_file(const fs::path& checkpoint, const std::string& label) {
  return checkpoint / (label + ".model.safetensors");
}

fs::path optimizer_file(const fs::path& checkpoint, const std::string& label) {
  return checkpoint / (label + ".optimizer.safetensors");
}

fs::path checkpoint_folder(const fs::path& run_folder, int64_t step) {
  return run_folder / "checkpoints" / fmt::format("step-{}", step);
}

std::optional<int64_t> checkpoint_step(const fs::path& folder) {
  constexpr std::string_view kPrefix = "step-";
  const std::string name = folder.filename().string();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  const bool good = error == std::errc() && stop == end && step >= 0 && name == fmt::format("step-{}", step);
  return good ? std::optional(step) : std::nullopt;
}

bool is_complete_checkpoint(const fs::path& folder) { return fs::exists(folder / kComplete); }

bool is_unfinished_checkpoint(const fs::path& folder) {
  std::string name = folder.filename().string();
  if (!name.starts_with('.')) return false;
  for (const std::string_view end : {kWriting, kRemoving}) {
    if (name.ends_with(end) && checkpoint_step(name.substr(1, name.size() - 1 - end.size()))) return true;
  }
  return false;
}

std::optional<std::string> foreign_entry(const fs::path& checkpoint) {
  const json mark = json::parse(read_file(checkpoint / kComplete), nullptr, /*allow_exceptions=*/false);
  const json files = mark.is_object() ? mark.value("files", json::object()) : json::object();
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    const std::string name = entry.path().filename().string();
    if (name != kComplete && !files.contains(name)) return name;
  }
  return std::nullopt;
}

void remove_checkpoint(const fs::path& folder) {
  const fs::path hidden = hidden_name(folder, kRemoving);
  remove_tree(hidden);  // of a removal that was cut short
  std::error_code error;
  fs::rename(folder, hidden, error);
  if (error) throw_user_error("cannot remove {}: {}", folder.string(), error.message());
  sync_directory(folder.parent_path());
  remove_tree(hidden);
}

std::vector<int64_t> complete_checkpoints(const fs::path& run_folder) { return steps_in(run_folder, true); }

std::vector<int64_t> incomplete_checkpoints(const fs::path& run_folder) {
  return steps_in(run_folder, false);
}

fs::path save_checkpoint(const fs::path& run_folder, const RunProgress& progress,
                         const std::vector<ReplicaSnapshot>& replicas, const std::string& config_yaml,
                         std::string_view tokenizer_model) {
  const fs::path target = checkpoint_folder(run_folder, progress.step);
  const fs::path temporary = hidden_name(target, kWriting);
  if (is_complete_checkpoint(target))
    throw_user_error("{}: this checkpoint is there already", target.string());
  if (fs::exists(fs::symlink_status(target))) move_aside(target);
  remove_tree(temporary);
  make_folder_atomically(target, temporary, [&](const fs::path& folder) {
    write_files(folder, progress, replicas, config_yaml, tokenizer_model);
  });
  sync_directory(run_folder);
  return target;
}

void verify_checkpoint(const fs::path& checkpoint) {
  const fs::path mark = checkpoint / kComplete;
  if (!is_complete_checkpoint(checkpoint))
    throw_user_error("{}: not a complete checkpoint (no {} in it)", checkpoint.string(), kComplete);
  const json parsed = read_json_object(mark);
  if (!parsed.contains("files") || !parsed["files"].is_object() ||
      parsed.value("version", json()) != kFormatVersion) {
    throw_user_error("{}: expected version {} and a map of files", mark.string(), kFormatVersion);
  }
  for (const char* name : {"trainer.json", "config.yaml", "tokenizer.model"}) {
    if (!parsed["files"].contains(name)) throw_user_error("{}: does not name {}", mark.string(), name);
  }
  for (const auto& [name, expected] : parsed["files"].items()) {
    const fs::path path = checkpoint / name;
    if (!fs::is_regular_file(path))
      throw_user_error("{}: missing, but named in {}", path.string(), kComplete);
    if (!expected.is_object() || expected.value("bytes", json()) != fs::file_size(path)) {
      throw_user_error("{}: {} bytes, expected {}", path.string(), fs::file_size(path),
                       expected.is_object() ? expected.value("bytes", json()).dump() : expected.dump());
    }
    const std::string found = checksum(path);
    if (expected.value("xxh64", json()) != found) {
      throw_user_error("{}: checksum {}, expected {}", path.string(), found,
                       expected.value("xxh64", json()).dump());
    }
  }
}

}  // namespace rse
