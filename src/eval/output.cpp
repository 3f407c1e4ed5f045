#include "eval/output.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/file.h"
#include "formats/safetensors.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

const LengthLosses& base_of(const ReplicaLosses& replica, int64_t trained_length) {
  const auto found = std::find_if(
      replica.lengths.begin(), replica.lengths.end(),
      [&](const LengthLosses& losses) { return losses.length == trained_length && !losses.control(); });
  RSE_ASSERT(found != replica.lengths.end(), "{}, seed {}: not measured at {}", replica.arm, replica.seed,
             trained_length);
  return *found;
}

void append_rows(const TargetPlaces& places, const ReplicaLosses& replica, const LengthLosses& losses,
                 const LengthLosses& base, std::vector<ResultRow>& rows) {
  std::map<int64_t, ResultRow> by_document;
  for (size_t i = 0; i < losses.nll.size(); ++i) {
    ResultRow& row = by_document[places.documents[i]];
    ++row.targets;
    row.nll += losses.nll[i];
    row.nll_difference += double{losses.nll[i]} - double{base.nll[i]};
  }
  for (auto& [document, row] : by_document) {
    row.arm = replica.arm;
    row.seed = replica.seed;
    row.length = losses.length;
    row.attention_window = losses.attention_window;
    row.document = document;
    row.nll /= static_cast<double>(row.targets);
    row.nll_difference /= static_cast<double>(row.targets);
    rows.push_back(row);
  }
}

nlohmann::ordered_json to_json(const ResultRow& row) {
  return {{"arm", row.arm},
          {"seed", row.seed},
          {"length", row.length},
          {"attention", row.attention_window > 0 ? "control" : "full"},
          {"attention_window", row.attention_window},
          {"document", row.document},
          {"targets", row.targets},
          {"nll", row.nll},
          {"nll_difference", row.nll_difference}};
}

torch::Tensor integers(const std::vector<int64_t>& values) { return torch::tensor(values, torch::kInt64); }

}  // namespace

std::vector<ResultRow> result_rows(const TargetPlaces& places, const std::vector<ReplicaLosses>& replicas,
                                   int64_t trained_length) {
  std::vector<ResultRow> rows;
  for (const ReplicaLosses& replica : replicas) {
    for (const LengthLosses& losses : replica.lengths) {
      append_rows(places, replica, losses, base_of(replica, trained_length), rows);
    }
  }
  return rows;
}

void write_results(const fs::path& folder, const std::vector<ResultRow>& rows) {
  std::string lines, table;
  for (const ResultRow& row : rows) {
    const nlohmann::ordered_json json = to_json(row);
    lines += json.dump() + "\n";
    std::vector<std::string> names, cells;
    for (const auto& [key, value] : json.items()) {
      names.push_back(key);
      cells.push_back(value.is_string() ? value.get<std::string>() : value.dump());
    }
    if (table.empty()) table = fmt::format("{}\n", fmt::join(names, ","));
    table += fmt::format("{}\n", fmt::join(cells, ","));
  }
  write_file_atomically(folder / "results.jsonl", lines);
  write_file_atomically(folder / "results.csv", table);
}

void write_targets(const fs::path& folder, const TargetPlaces& places,
                   const std::vector<ReplicaLosses>& replicas) {
  NamedTensors tensors = {{"documents", integers(places.documents)}, {"offsets", integers(places.offsets)}};
  std::vector<int64_t> lengths, windows;
  for (const LengthLosses& losses : replicas.front().lengths) {
    lengths.push_back(losses.length);
    windows.push_back(losses.attention_window);
  }
  tensors.emplace_back("lengths", integers(lengths));
  tensors.emplace_back("attention_windows", integers(windows));
  for (const ReplicaLosses& replica : replicas) {
    std::vector<torch::Tensor> settings;
    for (const LengthLosses& losses : replica.lengths) settings.push_back(torch::tensor(losses.nll));
    tensors.emplace_back(fmt::format("nll.{}.seed{}", replica.arm, replica.seed), torch::stack(settings));
  }
  write_safetensors(folder / "targets.safetensors", tensors);
}

}  // namespace rse
