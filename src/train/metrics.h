// What a run writes down while it trains: metrics.jsonl (one JSON object a line) and TensorBoard event files
// (one subfolder for each arm and seed).
//
// Lines of metrics.jsonl, by "type": "update" (every update), "decay" (lambda of every head,
// [layers][heads]), "validation". "step" counts updates from 1; values that are not finite are null.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "train/replica.h"
#include "train/tensorboard.h"

namespace rse {

class MetricsLog {
 public:
  // Writes run_folder/metrics.jsonl and, where asked for, run_folder/tensorboard/LABEL/.
  MetricsLog(const std::filesystem::path& run_folder, bool tensorboard);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void update(const Replica& replica, const UpdateResult& result);
  // lambda: [layers, heads] float32 on the CPU.
  void decay(const Replica& replica, int64_t step, const torch::Tensor& lambda);
  void validation(const Replica& replica, int64_t step, double nll, int64_t targets);
  void flush();

 private:
  void write_line(const std::string& json);
  EventFile* events(const Replica& replica);  // nullptr: no TensorBoard

  std::filesystem::path path_, tensorboard_folder_;
  std::FILE* file_ = nullptr;
  bool tensorboard_;
  std::map<std::string, std::unique_ptr<EventFile>> events_;
};

}  // namespace rse
