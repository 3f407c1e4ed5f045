// Reads what evaluation_json.h describes: as much of an evaluation.json as joining several evaluations takes.
// Means, intervals and sentences are left out, because they are made again from the losses. No Torch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "analysis/evaluation_json.h"

namespace rse {

struct StoredReplica {
  std::string arm;
  uint64_t seed = 0;
  std::vector<double> seconds;  // wall time of each of `results`, in the order of the file
};

struct StoredEvaluation {
  EvaluationMeta meta;
  int64_t targets = 0;
  int64_t trained_length = 0;
  double unigram_entropy = 0;                                 // nats, above 0
  std::vector<std::string> arms;                              // in the order of the file
  std::vector<StoredReplica> replicas;                        // at least one
  std::vector<std::pair<std::string, std::string>> protocol;  // every key and its value as JSON text, by key
};

// UserError naming the file and the key: the file cannot be read, is of another format, lacks a key, or holds
// a value of another type or range.
StoredEvaluation read_evaluation(const std::filesystem::path& file);

// UserError naming `other_file`, the key and both values where the two were not made by the same protocol.
// Where and with which program and batch size each ran, and how its files are named, may differ.
void check_same_protocol(const StoredEvaluation& first, const std::filesystem::path& first_folder,
                         const StoredEvaluation& other, const std::filesystem::path& other_file);

}  // namespace rse
