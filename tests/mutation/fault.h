// The switch of planted faults (scripts/mutate.sh). The script copies this header into the planted tree as
// src/core/fault.h; no build of the project itself includes it.
//
// RSE_FAULT("layer.name") is true where the environment variable RSE_FAULT held that name when the program started. In
// device code it reads a constant of the device, which rse::send_fault_to_device() sets; the script plants a call of it
// where the parameters of the kernels are made.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <type_traits>

namespace rse {

// FNV-1a. The script refuses lists in which two names have one hash.
#ifdef __CUDACC__
__host__ __device__
#endif
    constexpr uint32_t
    fault_hash(const char* name) {
  uint32_t hash = 2166136261u;
  for (; *name != '\0'; ++name) hash = (hash ^ static_cast<unsigned char>(*name)) * 16777619u;
  return hash;
}

namespace {
[[maybe_unused]] const uint32_t fault_set = [] {
  const char* const name = std::getenv("RSE_FAULT");
  return name == nullptr || *name == '\0' ? 0u : fault_hash(name);
}();
}  // namespace

}  // namespace rse

#ifdef __CUDACC__

#include <cuda_runtime.h>

#include <set>
#include <vector>

namespace rse {

// What sends the fault to the device's constant of each translation unit.
inline std::vector<void (*)()>& fault_senders() {
  static std::vector<void (*)()> senders;
  return senders;
}

namespace {
__constant__ uint32_t fault_on_device = 0;
[[maybe_unused]] const bool fault_sender_known = [] {
  fault_senders().push_back([] { cudaMemcpyToSymbol(fault_on_device, &fault_set, sizeof fault_set); });
  return true;
}();
}  // namespace

// Sets the constants of the current device, once per device.
inline void send_fault_to_device() {
  static std::set<int> done;
  int device = 0;
  if (fault_set == 0 || cudaGetDevice(&device) != cudaSuccess || !done.insert(device).second) return;
  for (void (*send)() : fault_senders()) send();
}

}  // namespace rse

#endif

#ifdef __CUDA_ARCH__
#define RSE_FAULT(name) \
  (::rse::fault_on_device == ::std::integral_constant<uint32_t, ::rse::fault_hash(name)>::value)
#else
#define RSE_FAULT(name) \
  (::rse::fault_set == ::std::integral_constant<uint32_t, ::rse::fault_hash(name)>::value)
#endif
