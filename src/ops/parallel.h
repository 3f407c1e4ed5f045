// LibTorch's thread pool, for every layer that computes on the CPU.
#pragma once

#include <cstdint>
#include <functional>

namespace rse {

// at::parallel_for. It has a source file of its own because that template runs on one thread, silently,
// unless its user is compiled with -fopenmp, and the precompiled header is not.
[[gnu::visibility("default")]] void parallel_for(int64_t begin, int64_t end, int64_t grain,
                                                 const std::function<void(int64_t, int64_t)>& body);

}  // namespace rse
