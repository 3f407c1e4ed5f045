#include "train/checkpoint.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/file.h"
#include "core/hash.h"
#include "train/safetensors.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kComplete = "COMPLETE";
constexpr const char* kTrainerState = "trainer.json";
constexpr int64_t kFormatVersion = 1;

std::string checksum(const fs::path& path) {
  const MappedFile file(path);
  return hex64(xxh64(file.data(), file.size()));
}

json counters_json(const Replica& replica) {
  const ReplicaCounters& counters = replica.counters;
  return {{"arm", replica.arm().name},
          {"seed", replica.seed()},
          {"step", counters.step},
          {"tokens", counters.tokens},
          {"skipped", counters.skipped},
          {"skipped_in_a_row", counters.skipped_in_a_row},
          {"recent_losses", counters.recent_losses}};
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

// The mark goes first, so that a removal cut short never leaves a folder that looks complete.
void remove_checkpoint(const fs::path& folder) {
  remove_tree(folder / kComplete);
  remove_tree(folder);
}

json parse_json_file(const fs::path& path) {
  json parsed = json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) throw_user_error("{}: expected a JSON object", path.string());
  return parsed;
}

fs::path model_file(const fs::path& folder, const Replica& replica) {
  return folder / (replica.label() + ".model.safetensors");
}

fs::path optimizer_file(const fs::path& folder, const Replica& replica) {
  return folder / (replica.label() + ".optimizer.safetensors");
}

void write_files(const fs::path& folder, int64_t step, const std::vector<Replica*>& replicas,
                 const std::string& config_yaml, std::string_view tokenizer_model) {
  json state = {{"version", kFormatVersion}, {"step", step}, {"replicas", json::array()}};
  for (const Replica* replica : replicas) {
    write_safetensors(model_file(folder, *replica), replica->weights(), {{"format", "pt"}});
    write_safetensors(optimizer_file(folder, *replica), replica->optimizer().state());
    state["replicas"].push_back(counters_json(*replica));
  }
  write_file_atomically(folder / kTrainerState, state.dump(2) + "\n");
  write_file_atomically(folder / "config.yaml", config_yaml);
  write_file_atomically(folder / "tokenizer.model", tokenizer_model);
  write_file_atomically(folder / kComplete, completion_mark(folder).dump(2) + "\n");
}

}  // namespace

fs::path checkpoint_folder(const fs::path& run_folder, int64_t step) {
  return run_folder / "checkpoints" / fmt::format("step-{}", step);
}

std::vector<int64_t> complete_checkpoints(const fs::path& run_folder) {
  std::vector<int64_t> steps;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(run_folder / "checkpoints", missing)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("step-") || !fs::exists(entry.path() / kComplete)) continue;
    int64_t step = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + 5, end, step);
    if (error == std::errc() && stop == end) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

fs::path save_checkpoint(const fs::path& run_folder, int64_t step, const std::vector<Replica*>& replicas,
                         const std::string& config_yaml, std::string_view tokenizer_model, int64_t keep) {
  const fs::path target = checkpoint_folder(run_folder, step);
  const fs::path temporary = target.parent_path() / fmt::format(".step-{}.tmp", step);
  if (fs::exists(target / kComplete))
    throw_user_error("{}: this checkpoint is there already", target.string());
  remove_tree(target);
  remove_tree(temporary);
  std::error_code error;
  fs::create_directories(temporary, error);
  if (error) throw_user_error("cannot create {}: {}", temporary.string(), error.message());
  try {
    write_files(temporary, step, replicas, config_yaml, tokenizer_model);
    sync_directory(temporary);
    fs::rename(temporary, target, error);
    if (error)
      throw_user_error("cannot rename {} to {}: {}", temporary.string(), target.string(), error.message());
  } catch (...) {
    try {
      remove_tree(temporary);
    } catch (const UserError& second) {
      spdlog::warn("{}", second.what());  // the first error is the one to report
    }
    throw;
  }
  sync_directory(target.parent_path());
  const std::vector<int64_t> steps = complete_checkpoints(run_folder);
  for (size_t i = 0; i + static_cast<size_t>(keep) < steps.size(); ++i) {
    remove_checkpoint(checkpoint_folder(run_folder, steps[i]));
  }
  return target;
}

void verify_checkpoint(const fs::path& checkpoint) {
  const fs::path mark = checkpoint / kComplete;
  if (!fs::exists(mark))
    throw_user_error("{}: not a complete checkpoint (no {} in it)", checkpoint.string(), kComplete);
  const json parsed = parse_json_file(mark);
  if (!parsed.contains("files") || !parsed["files"].is_object() ||
      parsed.value("version", json()) != kFormatVersion) {
    throw_user_error("{}: expected version {} and a map of files", mark.string(), kFormatVersion);
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

TrainerState read_trainer_state(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kTrainerState;
  const json parsed = parse_json_file(path);
  try {
    if (parsed.at("version").get<int64_t>() != kFormatVersion) {
      throw_user_error("{}: version {}, expected {}", path.string(), parsed["version"].dump(),
                       kFormatVersion);
    }
    TrainerState state;
    state.step = parsed.at("step").get<int64_t>();
    for (const json& item : parsed.at("replicas")) {
      ReplicaState replica;
      replica.arm = item.at("arm").get<std::string>();
      replica.seed = item.at("seed").get<uint64_t>();
      replica.counters.step = item.at("step").get<int64_t>();
      replica.counters.tokens = item.at("tokens").get<int64_t>();
      replica.counters.skipped = item.at("skipped").get<int64_t>();
      replica.counters.skipped_in_a_row = item.at("skipped_in_a_row").get<int64_t>();
      replica.counters.recent_losses = item.at("recent_losses").get<std::deque<double>>();
      state.replicas.push_back(std::move(replica));
    }
    return state;
  } catch (const json::exception& error) {
    throw_user_error("{}: not a trainer state: {}", path.string(), error.what());
  }
}

void load_replica(const fs::path& checkpoint, const TrainerState& state, Replica& replica) {
  const auto found =
      std::find_if(state.replicas.begin(), state.replicas.end(), [&](const ReplicaState& item) {
        return item.arm == replica.arm().name && item.seed == replica.seed();
      });
  if (found == state.replicas.end()) {
    throw_user_error("{}: no state of arm {}, seed {}", checkpoint.string(), replica.arm().name,
                     replica.seed());
  }
  replica.load(model_file(checkpoint, replica), optimizer_file(checkpoint, replica));
  replica.counters = found->counters;
}

}  // namespace rse
