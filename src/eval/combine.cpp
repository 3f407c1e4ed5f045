#include "eval/combine.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "analysis/statistics.h"
#include "core/check.h"
#include "core/file.h"
#include "formats/safetensors.h"
#include "run/config_change.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Folder {
  fs::path path;
  json evaluation;
  SafetensorsContent targets;
};

Folder read_folder(const fs::path& path) {
  const fs::path file = path / "evaluation.json", targets = path / "targets.safetensors";
  if (!fs::exists(file)) {
    throw_user_error("--combine: '{}': no evaluation.json there: expected a folder of rse-eval",
                     path.string());
  }
  json parsed = json::parse(read_file(file), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object() || parsed.value("format", json()) != 1) {
    throw_user_error("{}: expected an evaluation of format 1", file.string());
  }
  if (!fs::exists(targets)) {
    throw_user_error("{}: missing: expected an evaluation made with --save-targets", targets.string());
  }
  return {path, std::move(parsed), read_safetensors(targets)};
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

// Keys of evaluation.json's protocol that may differ: where and with what it ran. The data's content is
// compared.
bool may_differ(const std::string& key) {
  return key == "run" || key == "device" || key == "program" || key == "batch_tokens" || key == "data";
}

// UserError where `folder` contradicts itself: what an evaluation is made of fits together.
void check_content(const Folder& folder) {
  const auto expect = [&](bool good, const char* what) {
    if (!good) throw_user_error("{}: expected {}", folder.path.string(), what);
  };
  const json& protocol = folder.evaluation.at("protocol");
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
  expect(protocol.at("targets").get<size_t>() == documents.size(), "as many targets as evaluation.json says");
  expect(lengths.size() == windows.size(), "a length and an attention window for every setting");
  std::set<std::pair<int64_t, int64_t>> settings;
  for (size_t i = 0; i < lengths.size(); ++i) settings.emplace(lengths[i], windows[i]);
  const auto control =
      protocol.at("control_window").is_null() ? 0 : protocol.at("control_window").get<int64_t>();
  std::set<std::pair<int64_t, int64_t>> expected;
  for (const int64_t length : protocol.at("lengths").get<std::vector<int64_t>>()) {
    expect(length >= 1, "lengths of at least 1");
    expected.emplace(length, 0);
    if (control > 0) expected.emplace(length, control);
  }
  expect(settings == expected && settings.size() == lengths.size(),
         "the settings that evaluation.json names");
  expect(expected.contains({protocol.at("trained_length").get<int64_t>(), 0}),
         "the trained length among the lengths");
  expect(protocol.at("unigram_entropy").get<double>() > 0, "a unigram entropy above 0");
  expect(protocol.at("pieces").get<int64_t>() >= 1, "at least one piece");
  expect(protocol.at("masking").at("seed").is_number_unsigned(), "a seed of the masks of at least 0");
  expect(!folder.evaluation.at("replicas").empty(), "at least one replica");
  expect(folder.evaluation.at("costs").size() == folder.evaluation.at("arms").size(),
         "the costs of every arm");
}

void check_same_protocol(const Folder& first, const Folder& other) {
  const json& expected = first.evaluation.at("protocol");
  const json& found = other.evaluation.at("protocol");
  for (const auto& [key, value] : expected.items()) {
    if (may_differ(key) || found.value(key, json()) == value) continue;
    throw_user_error("{}: protocol.{}: {}, expected {} as in {}", (other.path / "evaluation.json").string(),
                     key, found.value(key, json()).dump(), value.dump(), first.path.string());
  }
  for (const char* name : {"documents", "offsets", "lengths", "attention_windows"}) {
    if (values_of<int64_t>(first, name, torch::kInt64) == values_of<int64_t>(other, name, torch::kInt64))
      continue;
    throw_user_error("{}: tensor '{}': expected the values of {}",
                     (other.path / "targets.safetensors").string(), name, first.path.string());
  }
}

RunConfig configuration_of(const Folder& folder) {
  const fs::path name = folder.path / "evaluation.json";
  return make_run_config(
      parse_config(folder.evaluation.at("configuration").get<std::string>(), name.string()), name);
}

// Each arm once, in the order of the file.
std::vector<std::string> arms_of(const Folder& folder) {
  std::vector<std::string> arms;
  for (const json& item : folder.evaluation.at("arms")) arms.push_back(item.at("arm").get<std::string>());
  return arms;
}

void check_same_settings(const Folder& first, const Folder& other) {
  if (const auto expected = arms_of(first), found = arms_of(other); found != expected) {
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
  for (const json& item : folder.evaluation.at("replicas")) {
    ReplicaLosses replica{item.at("arm").get<std::string>(), item.at("seeds").at(0).get<uint64_t>(), {}};
    const std::string name = fmt::format("nll.{}.seed{}", replica.arm, replica.seed);
    const auto nll = values_of<float>(folder, name, torch::kFloat32);
    if (nll.size() != lengths.size() * targets || windows.size() != lengths.size()) {
      throw_user_error("{}: tensor '{}': {} values, expected {} settings of {} targets",
                       (folder.path / "targets.safetensors").string(), name, nll.size(), lengths.size(),
                       targets);
    }
    for (size_t i = 0; i < lengths.size(); ++i) {
      const auto begin = nll.begin() + static_cast<std::ptrdiff_t>(i * targets);
      LengthLosses losses{lengths[i], windows[i], {begin, begin + static_cast<std::ptrdiff_t>(targets)}, 0};
      losses.seconds = item.at("results").at(i).at("seconds").get<double>();
      replica.lengths.push_back(std::move(losses));
    }
    all.push_back(std::move(replica));
  }
  return all;
}

std::optional<double> number(const json& object, const char* key) {
  const json value = object.value(key, json());
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

// The device that trained the arm in all folders; empty where they differ or do not say.
std::string device_of(const std::vector<Folder>& folders, size_t arm) {
  const auto named = [&](const Folder& folder) {
    return folder.evaluation.at("costs").at(arm).value("device", std::string());
  };
  const std::string first = named(folders.front());
  const bool same = std::all_of(folders.begin(), folders.end(),
                                [&](const Folder& folder) { return named(folder) == first; });
  return same ? first : "";
}

// The mean over folders of what was measured, where one kind of device measured it; what is a function of the
// settings is the same in all.
ArmCost cost_of(const std::vector<Folder>& folders, size_t arm) {
  const json& first = folders.front().evaluation.at("costs").at(arm);
  const std::string device = device_of(folders, arm);
  const auto mean = [&](const char* key) -> std::optional<double> {
    if (device.empty()) return std::nullopt;
    double sum = 0;
    for (const Folder& folder : folders) {
      const auto value = number(folder.evaluation.at("costs").at(arm), key);
      if (!value) return std::nullopt;
      sum += *value;
    }
    return sum / static_cast<double>(folders.size());
  };
  ArmCost cost;
  cost.arm = first.at("arm").get<std::string>();
  cost.device = device;
  cost.differs = first.at("differs").get<std::string>();
  cost.parameters = first.at("parameters").get<int64_t>();
  cost.position_parameters = first.at("position_parameters").get<int64_t>();
  cost.decay_parameters = first.at("decay_parameters").get<int64_t>();
  cost.table_bytes = first.at("table_bytes").get<int64_t>();
  cost.flop_per_token = first.at("flop_per_token").get<double>();
  cost.flop_formula = first.at("flop_formula").get<std::string>();
  if (const auto memory = mean("memory_bytes")) cost.memory_bytes = static_cast<int64_t>(*memory);
  cost.step_ms = mean("step_ms_median");
  cost.step_ms_spread = mean("step_ms_interquartile_range");
  cost.tokens_per_second = mean("tokens_per_second");
  cost.mfu = mean("mfu");
  return cost;
}

EvaluationMeta meta_of(const std::vector<Folder>& folders) {
  const json& protocol = folders.front().evaluation.at("protocol");
  EvaluationMeta meta;
  std::vector<std::string> runs, devices;
  for (const Folder& folder : folders) {
    const json& its = folder.evaluation.at("protocol");
    runs.push_back(its.at("run").get<std::string>());
    const std::string device = its.at("device").get<std::string>();
    if (std::find(devices.begin(), devices.end(), device) == devices.end()) devices.push_back(device);
    for (const json& item : folder.evaluation.at("decay")) {
      meta.decay.push_back({item.at("arm").get<std::string>(), item.at("seed").get<uint64_t>(),
                            item.at("lambda").get<std::vector<std::vector<double>>>()});
    }
  }
  meta.program = protocol.at("program").get<std::string>();
  meta.run = fmt::format("{}", fmt::join(runs, ", "));
  meta.step = protocol.at("step").get<int64_t>();
  meta.data = protocol.at("data").get<std::string>();
  meta.data_fingerprint = protocol.at("data_fingerprint").get<std::string>();
  meta.trained_on = protocol.at("trained_on").get<std::vector<std::string>>();
  meta.pieces = protocol.at("pieces").get<int64_t>();
  meta.piece_selection = protocol.at("piece_selection").get<std::string>();
  meta.piece_tokens = protocol.at("piece_tokens").get<int64_t>();
  meta.lengths = protocol.at("lengths").get<std::vector<int64_t>>();
  meta.control_window =
      protocol.at("control_window").is_null() ? 0 : protocol.at("control_window").get<int64_t>();
  meta.beyond = protocol.at("beyond").get<std::string>();
  const json& masking = protocol.at("masking");
  meta.mask_probability = masking.at("probability").get<double>();
  meta.mask_share = masking.at("mask_share").get<double>();
  meta.random_share = masking.at("random_share").get<double>();
  meta.mask_seed = masking.at("seed").get<uint64_t>();
  meta.device = fmt::format("{}", fmt::join(devices, ", "));
  meta.precision = protocol.at("precision").get<std::string>();
  meta.batch_tokens = protocol.at("batch_tokens").get<int64_t>();
  meta.configuration = folders.front().evaluation.at("configuration").get<std::string>();
  for (size_t arm = 0; arm < folders.front().evaluation.at("costs").size(); ++arm) {
    meta.costs.push_back(cost_of(folders, arm));
  }
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
                       (folder.path / "evaluation.json").string(), replica.arm, replica.seed);
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
    const Folder& folder = folders.back();
    try {
      check_content(folder);
      check_same_protocol(folders.front(), folder);
      check_same_settings(folders.front(), folder);
      add_replicas(folder, combined.replicas);
      if (folders.size() < paths.size()) continue;
      const json& protocol = folder.evaluation.at("protocol");
      combined.meta = meta_of(folders);
      for (const Folder& each : folders) {
        combined.runs.push_back(each.evaluation.at("protocol").at("run").get<std::string>());
      }
      combined.trained_length = protocol.at("trained_length").get<int64_t>();
      combined.unigram_entropy = protocol.at("unigram_entropy").get<double>();
    } catch (const json::exception& error) {
      throw_user_error("{}: not an evaluation as rse-eval writes it: {}", (path / "evaluation.json").string(),
                       error.what());
    }
  }
  if (combined.meta.costs.size() > 1 && combined.replicas.size() / combined.meta.costs.size() > kMostFlips) {
    throw_user_error("--combine: {} seeds: expected at most {} where arms are compared",
                     combined.replicas.size() / combined.meta.costs.size(), kMostFlips);
  }
  combined.places = {values_of<int64_t>(folders.front(), "documents", torch::kInt64),
                     values_of<int64_t>(folders.front(), "offsets", torch::kInt64)};
  return combined;
}

}  // namespace rse
