#include "eval/combine.h"

#include <algorithm>
#include <set>

#include "analysis/evaluation_reader.h"
#include "analysis/statistics.h"
#include "core/check.h"
#include "formats/safetensors.h"
#include "run/config_change.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path;
  StoredEvaluation evaluation;
  SafetensorsContent targets;

  fs::path file() const { return path / "evaluation.json"; }
};

Folder read_folder(const fs::path& path) {
  const fs::path file = path / "evaluation.json", targets = path / "targets.safetensors";
  if (!fs::exists(file)) {
    throw_user_error("--combine: '{}': no evaluation.json there: expected a folder of rse-eval",
                     path.string());
  }
  StoredEvaluation evaluation = read_evaluation(file);
  if (!fs::exists(targets)) {
    throw_user_error("{}: missing: expected an evaluation made with --save-targets", targets.string());
  }
  return {path, std::move(evaluation), read_safetensors(targets)};
}

template <typename T>
std::vector<T> values_of(const Folder& folder, const std::string& name, torch::ScalarType dtype) {
  const fs::path path = folder.path / "targets.safetensors";
  const auto found = folder.targets.tensors.find(name);
  if (found == folder.targets.tensors.end()) {
    throw_user_error("{}: tensor '{}' is missing", path.string(), name);
  }
  const torch::Tensor& tensor = found->second;
  if (tensor.scalar_type() != dtype) {
    throw_user_error("{}: tensor '{}' is {}, expected {}", path.string(), name,
                     c10::toString(tensor.scalar_type()), c10::toString(dtype));
  }
  return {tensor.const_data_ptr<T>(), tensor.const_data_ptr<T>() + tensor.numel()};
}

// UserError where `folder` contradicts itself: its losses and its evaluation.json fit together.
void check_content(const Folder& folder) {
  const auto expect = [&](bool good, const char* what) {
    if (!good) throw_user_error("{}: expected {}", folder.path.string(), what);
  };
  const EvaluationMeta& meta = folder.evaluation.meta;
  const auto documents = values_of<int64_t>(folder, "documents", torch::kInt64);
  const auto offsets = values_of<int64_t>(folder, "offsets", torch::kInt64);
  const auto lengths = values_of<int64_t>(folder, "lengths", torch::kInt64);
  const auto windows = values_of<int64_t>(folder, "attention_windows", torch::kInt64);
  const auto negative = [](int64_t value) { return value < 0; };
  expect(!documents.empty() && documents.size() == offsets.size(),
         "a document and an offset for every target");
  expect(std::none_of(documents.begin(), documents.end(), negative) &&
             std::none_of(offsets.begin(), offsets.end(), negative),
         "documents and offsets of at least 0");
  expect(folder.evaluation.targets == static_cast<int64_t>(documents.size()),
         "as many targets as evaluation.json says");
  expect(lengths.size() == windows.size(), "a length and an attention window for every setting");
  std::set<std::pair<int64_t, int64_t>> settings;
  for (size_t i = 0; i < lengths.size(); ++i) settings.emplace(lengths[i], windows[i]);
  std::set<std::pair<int64_t, int64_t>> expected;
  for (const int64_t length : meta.lengths) {
    expected.emplace(length, 0);
    if (meta.control_window > 0) expected.emplace(length, meta.control_window);
  }
  expect(settings == expected && settings.size() == lengths.size(),
         "the settings that evaluation.json names");
  expect(expected.contains({folder.evaluation.trained_length, 0}), "the trained length among the lengths");
}

void check_same_targets(const Folder& first, const Folder& other) {
  for (const char* name : {"documents", "offsets", "lengths", "attention_windows"}) {
    if (values_of<int64_t>(first, name, torch::kInt64) == values_of<int64_t>(other, name, torch::kInt64))
      continue;
    throw_user_error("{}: tensor '{}': expected the values of {}",
                     (other.path / "targets.safetensors").string(), name, first.path.string());
  }
}

RunConfig configuration_of(const Folder& folder) {
  return make_run_config(parse_config(folder.evaluation.meta.configuration, folder.file().string()),
                         folder.file());
}

void check_same_settings(const Folder& first, const Folder& other) {
  const auto &expected = first.evaluation.arms, &found = other.evaluation.arms;
  if (found != expected) {
    throw_user_error("{}: arms '{}', expected '{}' as in {}", (other.path / "evaluation.json").string(),
                     fmt::join(found, ", "), fmt::join(expected, ", "), first.path.string());
  }
  for (const ConfigChange& change : config_changes(configuration_of(first), configuration_of(other))) {
    if (change.rule.combined_may_differ) continue;
    throw_user_error("{}: configuration: {}: '{}', expected '{}' as in {}",
                     (other.path / "evaluation.json").string(), change.key, change.after, change.before,
                     first.path.string());
  }
}

std::vector<ReplicaLosses> replicas_of(const Folder& folder) {
  const auto lengths = values_of<int64_t>(folder, "lengths", torch::kInt64);
  const auto windows = values_of<int64_t>(folder, "attention_windows", torch::kInt64);
  const size_t targets = values_of<int64_t>(folder, "offsets", torch::kInt64).size();
  std::vector<ReplicaLosses> all;
  for (const StoredReplica& stored : folder.evaluation.replicas) {
    ReplicaLosses replica{stored.arm, stored.seed, {}};
    const std::string name = fmt::format("nll.{}.seed{}", replica.arm, replica.seed);
    const auto nll = values_of<float>(folder, name, torch::kFloat32);
    if (nll.size() != lengths.size() * targets) {
      throw_user_error("{}: tensor '{}': {} values, expected {} settings of {} targets",
                       (folder.path / "targets.safetensors").string(), name, nll.size(), lengths.size(),
                       targets);
    }
    if (stored.seconds.size() != lengths.size()) {
      throw_user_error("{}: arm {}, seed {}: {} results, expected {}, one for each setting",
                       folder.file().string(), replica.arm, replica.seed, stored.seconds.size(),
                       lengths.size());
    }
    for (size_t i = 0; i < lengths.size(); ++i) {
      const auto begin = nll.begin() + static_cast<std::ptrdiff_t>(i * targets);
      replica.lengths.push_back(
          {lengths[i], windows[i], {begin, begin + static_cast<std::ptrdiff_t>(targets)}, stored.seconds[i]});
    }
    all.push_back(std::move(replica));
  }
  return all;
}

// The device that trained the arm in all folders; empty where they differ or do not say.
std::string device_of(const std::vector<Folder>& folders, size_t arm) {
  const std::string first = folders.front().evaluation.meta.costs[arm].device;
  const bool same = std::all_of(folders.begin(), folders.end(), [&](const Folder& folder) {
    return folder.evaluation.meta.costs[arm].device == first;
  });
  return same ? first : "";
}

// Of what was measured, the mean over folders where one kind of device measured it; what is a function of the
// settings is the same in all.
ArmCost cost_of(const std::vector<Folder>& folders, size_t arm) {
  ArmCost cost = folders.front().evaluation.meta.costs[arm];
  cost.device = device_of(folders, arm);
  const auto mean = [&](auto ArmCost::*figure) -> std::optional<double> {
    if (cost.device.empty()) return std::nullopt;
    double sum = 0;
    for (const Folder& folder : folders) {
      const auto& value = folder.evaluation.meta.costs[arm].*figure;
      if (!value) return std::nullopt;
      sum += static_cast<double>(*value);
    }
    return sum / static_cast<double>(folders.size());
  };
  const auto memory = mean(&ArmCost::memory_bytes);
  cost.memory_bytes = memory ? std::optional(static_cast<int64_t>(*memory)) : std::nullopt;
  cost.step_ms = mean(&ArmCost::step_ms);
  cost.step_ms_spread = mean(&ArmCost::step_ms_spread);
  cost.tokens_per_second = mean(&ArmCost::tokens_per_second);
  cost.mfu = mean(&ArmCost::mfu);
  return cost;
}

// The first folder's, but for what belongs to each: runs, devices, costs, decays.
EvaluationMeta meta_of(const std::vector<Folder>& folders) {
  EvaluationMeta meta = folders.front().evaluation.meta;
  std::vector<std::string> runs, devices;
  meta.decay.clear();
  for (const Folder& folder : folders) {
    const EvaluationMeta& its = folder.evaluation.meta;
    runs.push_back(its.run);
    meta.overlap = join(meta.overlap, its.overlap);
    if (std::find(devices.begin(), devices.end(), its.device) == devices.end()) devices.push_back(its.device);
    meta.decay.insert(meta.decay.end(), its.decay.begin(), its.decay.end());
  }
  meta.run = fmt::format("{}", fmt::join(runs, ", "));
  meta.device = fmt::format("{}", fmt::join(devices, ", "));
  for (size_t arm = 0; arm < meta.costs.size(); ++arm) meta.costs[arm] = cost_of(folders, arm);
  return meta;
}

// By arm, in order of appearance. An (arm, seed) that is there twice is an error.
void add_replicas(const Folder& folder, std::vector<ReplicaLosses>& all) {
  for (ReplicaLosses& replica : replicas_of(folder)) {
    auto place = all.end();
    for (auto known = all.begin(); known != all.end(); ++known) {
      if (known->arm != replica.arm) continue;
      place = known + 1;
      if (known->seed != replica.seed) continue;
      throw_user_error("{}: arm {}, seed {}: expected each once, and a folder before it has the same",
                       folder.file().string(), replica.arm, replica.seed);
    }
    all.insert(place, std::move(replica));
  }
}

}  // namespace

SavedEvaluation combine_evaluations(const std::vector<fs::path>& paths) {
  if (paths.size() < 2) throw_user_error("--combine: {} folders: expected at least two", paths.size());
  std::vector<Folder> folders;
  SavedEvaluation combined;
  for (const fs::path& path : paths) {
    folders.push_back(read_folder(path));
    const Folder &first = folders.front(), &folder = folders.back();
    check_content(folder);
    check_same_protocol(first.evaluation, first.path, folder.evaluation, folder.file());
    check_same_targets(first, folder);
    check_same_settings(first, folder);
    add_replicas(folder, combined.replicas);
    combined.runs.push_back(folder.evaluation.meta.run);
  }
  combined.meta = meta_of(folders);
  combined.trained_length = folders.front().evaluation.trained_length;
  combined.unigram_entropy = folders.front().evaluation.unigram_entropy;
  if (combined.meta.costs.size() > 1 && combined.replicas.size() / combined.meta.costs.size() > kMostFlips) {
    throw_user_error("--combine: {} seeds: expected at most {} where arms are compared",
                     combined.replicas.size() / combined.meta.costs.size(), kMostFlips);
  }
  combined.places = {values_of<int64_t>(folders.front(), "documents", torch::kInt64),
                     values_of<int64_t>(folders.front(), "offsets", torch::kInt64)};
  return combined;
}

}  // namespace rse
