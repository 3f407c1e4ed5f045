// Counts the bytes of tensors that this thread allocates and frees on the CPU.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <memory>

namespace rse {

// Counts while it lives, from zero.
class CountedMemory {
 public:
  int64_t current() const { return reporter_->current; }
  int64_t peak() const { return reporter_->peak; }

 private:
  struct Reporter : c10::MemoryReportingInfoBase {
    int64_t current = 0, peak = 0;
    void reportMemoryUsage(void* /*ptr*/, int64_t size, size_t /*allocated*/, size_t /*reserved*/,
                           c10::Device /*device*/) override {
      current += size;
      peak = std::max(peak, current);
    }
    bool memoryProfilingEnabled() const override { return true; }
  };
  std::shared_ptr<Reporter> reporter_ = std::make_shared<Reporter>();
  c10::DebugInfoGuard guard_{c10::DebugInfoKind::PROFILER_STATE, reporter_};
};

}  // namespace rse
