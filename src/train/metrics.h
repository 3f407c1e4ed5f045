// The measurements of a run while it trains: metrics.jsonl (one JSON object per line) and TensorBoard event
// files (one folder for each arm and seed).
//
// The "type" of a line in metrics.jsonl is "update" (one for every update), "decay" (lambda of every head,
// [layers][heads]) or "validation". "step" counts updates from 1; values that are not finite are null. Order
// of calls: check_kept_metrics() where a run goes on -> MetricsLog -> its functions; sync() before a
// checkpoint.
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

// UserError unless metrics.jsonl in the folder begins with whole lines of so many bytes. Writes nothing.
void check_kept_metrics(const std::filesystem::path& run_folder, int64_t kept_bytes);

class MetricsLog {
 public:
  // Goes on after `step` updates, whose lines are the first `kept_bytes` bytes of run_folder/metrics.jsonl.
  // What lies beyond them, lines of a process that was killed, is cut off. tensorboard: also write
  // run_folder/tensorboard/LABEL/. UserError where the file does not hold whole lines of so many bytes.
  MetricsLog(const std::filesystem::path& run_folder, bool tensorboard, int64_t step, int64_t kept_bytes);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void update(const Replica& replica, const UpdateResult& result);
  // lambda: [layers, heads] float32 on the CPU.
  void decay(const Replica& replica, int64_t step, const torch::Tensor& lambda);
  void validation(const Replica& replica, int64_t step, double nll, int64_t targets);
  void flush();
  // Calls flush(), syncs metrics.jsonl to the disk and returns its size in bytes, which is one of whole
  // lines.
  int64_t sync();

 private:
  void write_line(const std::string& json);
  EventFile* events(const Replica& replica);  // nullptr without TensorBoard

  std::filesystem::path path_, tensorboard_folder_;
  std::FILE* file_ = nullptr;
  bool tensorboard_;
  int64_t first_step_;  // the first update to come, counted from 1
  std::map<std::string, std::unique_ptr<EventFile>> events_;
};

}  // namespace rse
