// The device of a run: its choice, clock, memory and peak rate, with the same calls for CPU and CUDA.
//
// Order of calls: configure_torch() -> resolve_device() -> everything else.
#pragma once

#include <c10/core/Event.h>
#include <torch/torch.h>

#include <cstdint>
#include <optional>
#include <string>

#include "run/run_config.h"

namespace rse {

// The current CUDA device or the CPU; kAuto: CUDA where there is one. UserError where CUDA is asked for and
// absent. asked_by: the key or flag that made the choice ("train.device", "--device"), for the message.
torch::Device resolve_device(DeviceChoice choice, const char* asked_by);

// Sets LibTorch's threads (0: unchanged) and its deterministic algorithms. It must come before the first CUDA
// call.
void configure_torch(const TrainConfig& config);

struct DeviceDescription {
  std::string name;       // "NVIDIA H200", "CPU, 2 threads"
  double peak_flops = 0;  // FLOP/s that MFU is relative to; 0: unknown
};

// peak_flops is config.peak_tflops where that is set, else the data sheet's for a known GPU in bf16.
DeviceDescription describe_device(const torch::Device& device, const TrainConfig& config);

// Measures the time of one stretch of work on the device: by events on the current stream (CUDA), or by a
// monotonic clock (CPU).
class StepClock {
 public:
  explicit StepClock(const torch::Device& device);  // starts
  void stop();
  // Waits until the device has passed stop().
  double milliseconds();

 private:
  torch::Device device_;
  double start_seconds_ = 0, stop_seconds_ = 0;
  std::optional<c10::Event> start_event_, stop_event_;
};

// Measures how many bytes of device memory were allocated at the peak beyond those at the start; -1 on the
// CPU, where LibTorch does not count.
class PeakMemory {
 public:
  explicit PeakMemory(const torch::Device& device);  // starts
  int64_t bytes_above_start() const;

 private:
  torch::Device device_;
  int64_t start_ = 0;
};

// The largest resident set of this process so far, in bytes.
int64_t process_peak_bytes();

}  // namespace rse
