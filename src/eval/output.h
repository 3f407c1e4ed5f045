// The files of an evaluation. Its folder is made by eval/evaluation_folder.h.
//
//   results.jsonl, results.csv   one row per (arm, seed, length, full attention or control, document)
//   targets.safetensors          every loss, where asked for
//   evaluation.json              analysis/evaluation_json.h
//   report.html                  drawn by scripts/report.py once the folder is there
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "analysis/target_losses.h"

namespace rse {

// One row of results.jsonl and results.csv, whose keys and columns bear these names.
struct ResultRow {
  std::string arm;
  uint64_t seed = 0;
  int64_t length = 0;
  int64_t attention_window = 0;  // `attention` is "control" where this is above 0, else "full"
  int64_t document = 0;
  int64_t targets = 0;
  double nll = 0;             // mean over the document's targets, nats
  double nll_difference = 0;  // mean over them of NLL here minus the same replica's at the trained length
                              // with full attention
};

// In the order of replicas, their lengths, documents. Every replica has full attention at trained_length.
std::vector<ResultRow> result_rows(const TargetPlaces& places, const std::vector<ReplicaLosses>& replicas,
                                   int64_t trained_length);
void write_results(const std::filesystem::path& folder, const std::vector<ResultRow>& rows);

// targets.safetensors: documents, offsets int64 [targets]; lengths, attention_windows int64 [settings]; for
// each replica nll.ARM.seedS float32 [settings, targets].
void write_targets(const std::filesystem::path& folder, const TargetPlaces& places,
                   const std::vector<ReplicaLosses>& replicas);

}  // namespace rse
