// What rse-bench measures with: samples and their spread, peak memory of one call.
//
// Google Benchmark runs one case to its end before it starts the next; here cases are compared and take
// turns, round by round, so that clock drift and neighbours hit all of them alike. Hence a timing loop of our
// own.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <vector>

namespace rse {

// Median and the middle 80 % of some samples (at least one).
struct Spread {
  double median = 0;
  double p10 = 0;
  double p90 = 0;
};
Spread spread_of(std::vector<double> samples);

// Milliseconds from call to result; waits for the device.
double time_ms(const torch::Device& device, const std::function<void()>& call);

// Bytes that one call adds at its peak: resident memory of the process (Linux, VmHWM) on a CPU, bytes
// allocated by LibTorch's allocator on CUDA. Negative where the system does not say.
double peak_bytes(const torch::Device& device, const std::function<void()>& call);

}  // namespace rse
