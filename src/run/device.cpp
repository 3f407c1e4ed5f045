#include "run/device.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "core/check.h"
#include "core/logging.h"
#include "core/threads.h"
#ifdef RSE_WITH_CUDA
#include "kernels/device_info.h"
#endif

namespace rse {
namespace {

using Stat = at::CachingDeviceAllocator::StatType;

int64_t allocated_bytes(const torch::Device& device, bool peak) {
  const auto stats = at::accelerator::getDeviceStats(device.index());
  const auto& allocated = stats.allocated_bytes[static_cast<size_t>(Stat::AGGREGATE)];
  return peak ? allocated.peak : allocated.current;
}

}  // namespace

torch::Device resolve_device(DeviceChoice choice, const char* asked_by) {
  const bool available = choice != DeviceChoice::kCpu && torch::cuda::is_available();
  if (choice == DeviceChoice::kCuda && !available) {
    throw_user_error("{}: 'cuda': no CUDA device is available here; expected cpu or auto", asked_by);
  }
  if (!available) return torch::kCPU;
  return {torch::kCUDA, at::accelerator::getDeviceIndex()};
}

void configure_torch(const TrainConfig& config) {
  if (config.threads > 0) torch::set_num_threads(static_cast<int>(config.threads));
  // OpenMP starts them in the middle of the work, and ends the process where it cannot. Two more serve batches and
  // gradients.
  require_threads(torch::get_num_threads() + 2, "for LibTorch (train.threads or --threads)");
  if (config.deterministic) {
    // cuBLAS reads this once, when its first handle is made.
    ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  }
  at::globalContext().setDeterministicAlgorithms(config.deterministic, /*warn_only=*/false);
}

DeviceDescription describe_device(const torch::Device& device, const TrainConfig& config) {
  DeviceDescription description;
  description.name = fmt::format("CPU, {} threads", torch::get_num_threads());
  if (device.is_cuda()) {
    description.name = device.str();
#ifdef RSE_WITH_CUDA
    kernels::DeviceInfo info;
    if (kernels::device_info(device.index(), &info) == cudaSuccess) {
      description.name = info.name;
      if (config.precision == Precision::kBf16) description.peak_flops = kernels::peak_bf16_flops(info);
    }
#endif
  }
  if (config.peak_tflops > 0) description.peak_flops = config.peak_tflops * 1e12;
  return description;
}

StepClock::StepClock(const torch::Device& device) : device_(device) {
  start_seconds_ = now_seconds();
  if (!device.is_cuda()) return;
  start_event_.emplace(device.type(), c10::EventFlag::BACKEND_DEFAULT);  // this flag keeps times
  start_event_->record(at::accelerator::getCurrentStream(device.index()));
}

void StepClock::stop() {
  stop_seconds_ = now_seconds();
  if (!device_.is_cuda()) return;
  stop_event_.emplace(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
  stop_event_->record(at::accelerator::getCurrentStream(device_.index()));
}

double StepClock::milliseconds() {
  if (!device_.is_cuda()) return 1e3 * (stop_seconds_ - start_seconds_);
  stop_event_->synchronize();
  return start_event_->elapsedTime(*stop_event_);
}

PeakMemory::PeakMemory(const torch::Device& device) : device_(device) {
  if (!device.is_cuda()) return;
  at::accelerator::resetPeakStats(device.index());
  start_ = allocated_bytes(device, /*peak=*/false);
}

int64_t PeakMemory::bytes_above_start() const {
  return device_.is_cuda() ? allocated_bytes(device_, /*peak=*/true) - start_ : -1;
}

int64_t process_peak_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace rse
