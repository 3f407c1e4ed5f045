// Joins several evaluations: seeds that were trained in runs of their own, on whatever machines, are compared
// as if one run had trained them.
//
// Each folder was made by rse-eval with --save-targets. What they must share: the targets, the lengths, the
// protocol (content of the data, masks, precision, rule beyond a table, checkpoint's step), the content of
// the training data and the arms' settings; each (arm, seed) comes once. The result is a folder like any
// other of rse-eval.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "analysis/evaluation_json.h"
#include "analysis/target_losses.h"

namespace rse {

struct SavedEvaluation {
  TargetPlaces places;
  std::vector<ReplicaLosses> replicas;  // by arm in order of appearance, then as the folders come
  EvaluationMeta meta;                  // run: all runs, ", " between them; costs: the mean over folders
  std::vector<std::string> runs;        // run folders, as the evaluations name them
  int64_t trained_length = 0;
  double unigram_entropy = 0;
};

// UserError naming the file: no evaluation, no targets.safetensors, a damaged one, or one that differs in
// what all must share (then naming key and both values).
SavedEvaluation combine_evaluations(const std::vector<std::filesystem::path>& folders);

}  // namespace rse
