// The text and the JSON of rse-bench step.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "bench/profile.h"
#include "bench/step.h"
#include "nn/model_report.h"
#include "run/device.h"
#include "run/run_config.h"

namespace rse {

// One arm's measurements. Rates follow from the medians: tokens per second = tokens per step / median.
struct ArmStepReport {
  std::string name;
  std::string differs;  // as ArmConfig's
  ModelReport cost;
  Spread ms;                   // of an update, arms interleaved
  double tokens_per_step = 0;  // mean of the measured steps
  double memory_bytes = -1;    // state, and the peak of one update above it; negative: not known
  int64_t skipped = 0;         // updates that were not finite and changed nothing
  std::optional<Spread> alone_ms;
  std::optional<StepProfile> profile;

  double tokens_per_second() const { return 1e3 * tokens_per_step / ms.median; }
  // Absent where the device's peak is not known.
  std::optional<double> mfu(double peak_flops) const;
};

struct StepReport {
  StepBenchOptions options;
  std::string source;    // of the configuration
  std::string settings;  // every key in effect, as YAML
  std::string precision;
  DeviceDescription device;
  std::string device_type;  // cpu or cuda
  int64_t threads = 0;
  std::string data;  // where the batches come from
  bool synthetic = false;
  int64_t vocab_size = 0, seq_len = 0, batch_size = 0, accumulation = 0;
  uint64_t train_seed = 0;
  int64_t step_tokens = 0, step_targets = 0;  // of the first step
  double feed_tokens_per_second = 0;          // that one thread makes into batches
  std::vector<ArmStepReport> arms;
  double wall_ms = 0;                   // per step of all arms, by the host's clock
  std::optional<double> alone_wall_ms;  // the same, summed over arms that ran alone
};

// Prints everything for a person.
void print_step_report(const StepReport& report);

// Everything that is printed, and versions, seeds and settings, as one JSON document. `commit` is what the
// environment variable RSE_COMMIT says, else null.
std::string step_report_json(const StepReport& report);

}  // namespace rse
