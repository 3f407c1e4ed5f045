// How rse-bench measures: times with their spread, and the peak memory of one call.
//
// Google Benchmark runs one case to its end before it starts the next. Here cases are compared, so they take
// turns, round by round, and clock drift and neighbours hit all of them alike; hence a timing loop of our
// own.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <vector>

namespace rse {

// Median of some samples (at least one) and its 95 % interval from order statistics, which assume nothing
// about the distribution. Below six samples no interval reaches 95 %; it then goes from smallest to largest.
struct Spread {
  double median = 0;
  double low = 0;
  double high = 0;
};
Spread spread_of(std::vector<double> samples);

// Times calls one after another, as one run: on a CPU by the clock, on CUDA by events on the current stream,
// with cold caches and launches that queue behind the kernel that overwrites the caches.
class CallTimer {
 public:
  explicit CallTimer(const torch::Device& device);
  // Milliseconds of each call; waits for the device before and after, not between them.
  std::vector<double> run(const std::vector<std::function<void()>>& calls);

 private:
  torch::Device device_;
  torch::Tensor flush_;  // on CUDA; larger than the device's caches
};

// Bytes that one call adds at its peak: resident memory of the process (Linux, VmHWM) on a CPU, bytes
// allocated by LibTorch's allocator on CUDA. Negative where the system does not say.
double peak_bytes(const torch::Device& device, const std::function<void()>& call);

}  // namespace rse
