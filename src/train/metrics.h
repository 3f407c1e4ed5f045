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

#include "formats/tensorboard.h"
#include "train/replica.h"

namespace rse {

// UserError unless metrics.jsonl of the folder begins with whole lines of so many bytes. Writes nothing.
void check_kept_metrics(const std::filesystem::path& run_folder, int64_t kept_bytes);

class MetricsLog {
 public:
  // Writes run_folder/metrics.jsonl and, where asked for, run_folder/tensorboard/LABEL/, after the lines of
  // `step` updates, which are the first `kept_bytes` bytes of metrics.jsonl; what lies beyond them (lines of
  // a process that was killed) is cut off. UserError where the file does not hold whole lines of so many
  // bytes.
  MetricsLog(const std::filesystem::path& run_folder, bool tensorboard, int64_t step, int64_t kept_bytes);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void update(const Replica& replica, const UpdateResult& result);
  // lambda: [layers, heads] float32 on the CPU.
  void decay(const Replica& replica, int64_t step, const torch::Tensor& lambda);
  void validation(const Replica& replica, int64_t step, double nll, int64_t targets);
  void flush();
  // flush(), and metrics.jsonl synced to the disk. Returns its size in bytes: whole lines.
  int64_t sync();

 private:
  void write_line(const std::string& json);
  EventFile* events(const Replica& replica);  // nullptr: no TensorBoard

  std::filesystem::path path_, tensorboard_folder_;
  std::FILE* file_ = nullptr;
  bool tensorboard_;
  int64_t first_step_;  // as lines count steps
  std::map<std::string, std::unique_ptr<EventFile>> events_;
};

}  // namespace rse
