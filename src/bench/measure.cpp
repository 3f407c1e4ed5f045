#include "bench/measure.h"

#include <ATen/DeviceAccelerator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
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

constexpr int64_t kFlushBytes = int64_t{512} << 20;

std::vector<double> run_by_clock(const std::vector<std::function<void()>>& calls) {
  std::vector<double> ms;
  for (const auto& call : calls) {
    const auto start = std::chrono::steady_clock::now();
    call();
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  return ms;
}

std::vector<double> run_by_events(const torch::Device& device,
                                  const std::vector<std::function<void()>>& calls) {
  std::vector<c10::Event> events;
  const auto record = [&] {
    events.emplace_back(device.type(), c10::EventFlag::BACKEND_DEFAULT);  // the flag that keeps times
    events.back().record(at::accelerator::getCurrentStream(device.index()));
  };
  record();
  for (const auto& call : calls) {
    call();
    record();
  }
  wait_for(device);
  std::vector<double> ms;
  for (size_t n = 0; n < calls.size(); ++n) ms.push_back(events[n].elapsedTime(events[n + 1]));
  return ms;
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
  const c10::DeviceIndex index = device.has_index() ? device.index() : at::accelerator::getDeviceIndex();
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
  const size_t n = samples.size();
  // The most samples that may be cut at either end: P(Binomial(n, 1/2) < cut) <= 2.5 %.
  size_t cut = 0;
  for (double tail = 0; cut < n; ++cut) {
    const auto count = static_cast<double>(n), at = static_cast<double>(cut);
    tail += std::exp(std::lgamma(count + 1) - std::lgamma(at + 1) - std::lgamma(count - at + 1) -
                     count * std::log(2.0));
    if (tail > 0.025) break;
  }
  const size_t low = cut > 0 ? cut - 1 : 0;
  return {(samples[(n - 1) / 2] + samples[n / 2]) / 2, samples[low], samples[n - 1 - low]};
}

CallTimer::CallTimer(const torch::Device& device) : device_(device) {
  if (device.is_cuda()) flush_ = torch::empty({kFlushBytes}, torch::dtype(torch::kUInt8).device(device));
}

std::vector<double> CallTimer::run(const std::vector<std::function<void()>>& calls) {
  if (!device_.is_cuda()) return run_by_clock(calls);
  wait_for(device_);
  flush_.zero_();
  return run_by_events(device_, calls);
}

double peak_bytes(const torch::Device& device, const std::function<void()>& call) {
  return device.is_cuda() ? peak_bytes_cuda(device, call) : peak_bytes_cpu(call);
}

}  // namespace rse
