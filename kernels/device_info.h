// What a CUDA device is: for logs, for the choice of kernels, and for the share of its peak rate that a run
// reaches. CUDA runtime only, no Torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace rse::kernels {

struct DeviceInfo {
  char name[256];
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t shared_bytes_per_block = 0;  // the most that a thread block can opt into
};

// Fills `info` for CUDA device number `device`. Returns what the runtime returns: no driver, no such device.
cudaError_t device_info(int device, DeviceInfo* info);

// The dense bf16 matrix rate in FLOP/s by the vendor's data sheet, for the name that the driver reports. It
// is 0 for a device that is not in the table.
double peak_bf16_flops(const DeviceInfo& info);

}  // namespace rse::kernels
