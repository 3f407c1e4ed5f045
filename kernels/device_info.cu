#include <cstring>

#include "kernels/device_info.h"

namespace rse::kernels {

cudaError_t device_info(int device, DeviceInfo* info) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess)
    return error;
  std::strncpy(info->name, properties.name, sizeof info->name - 1);
  info->name[sizeof info->name - 1] = '\0';
  info->major = properties.major;
  info->minor = properties.minor;
  info->multiprocessors = properties.multiProcessorCount;
  info->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  info->shared_bytes_per_block = static_cast<int64_t>(properties.sharedMemPerBlockOptin);
  return cudaSuccess;
}

double peak_bf16_flops(const DeviceInfo& info) {
  struct Entry {
    const char* part;
    double flops;
  };
  // More specific names come first. Where a name does not tell, the figures are those of the SXM form.
  constexpr Entry kTable[] = {{"H100 PCIe", 756e12}, {"H100 NVL", 835e12}, {"H100", 989e12},
                              {"H200", 989e12},      {"A100", 312e12},     {"L40S", 362e12},
                              {"RTX 4090", 165e12}};
  for (const Entry& entry : kTable) {
    if (std::strstr(info.name, entry.part) != nullptr) return entry.flops;
  }
  return 0;
}

}  // namespace rse::kernels
