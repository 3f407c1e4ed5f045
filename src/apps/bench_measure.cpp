#include "apps/bench_measure.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>

namespace rse {
namespace {

void wait_for(const torch::Device& device) {
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
}

double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - std::floor(at)) * (sorted[high] - sorted[low]);
}

// A line "VmHWM:   1234 kB" of /proc/self/status, in bytes; negative where there is none.
double status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key + ":", 0) == 0) return std::stod(line.substr(key.size() + 1)) * 1024.0;
  }
  return -1;
}

double peak_bytes_cpu(const std::function<void()>& call) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // VmHWM starts again at VmRSS
  const double before = status_bytes("VmRSS");
  call();
  const double peak = status_bytes("VmHWM");
  return before < 0 || peak < 0 ? -1 : peak - before;
}

double peak_bytes_cuda(const torch::Device& device, const std::function<void()>& call) {
  c10::DeviceAllocator* const allocator = c10::getDeviceAllocator(device.type());
  const c10::DeviceIndex index = device.has_index() ? device.index() : c10::DeviceIndex{0};
  wait_for(device);
  allocator->resetPeakStats(index);
  const auto before = allocator->getDeviceStats(index).allocated_bytes[0].current;
  call();
  wait_for(device);
  return static_cast<double>(allocator->getDeviceStats(index).allocated_bytes[0].peak - before);
}

}  // namespace

Spread spread_of(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return {quantile(samples, 0.5), quantile(samples, 0.1), quantile(samples, 0.9)};
}

double time_ms(const torch::Device& device, const std::function<void()>& call) {
  wait_for(device);
  const auto start = std::chrono::steady_clock::now();
  call();
  wait_for(device);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

double peak_bytes(const torch::Device& device, const std::function<void()>& call) {
  return device.is_cuda() ? peak_bytes_cuda(device, call) : peak_bytes_cpu(call);
}

}  // namespace rse
