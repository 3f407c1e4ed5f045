// The backends under test: suites Cpu/... and Gpu/...; the latter are skipped where no GPU is.
#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <vector>

#include "tests/ops/attention_cases.h"

namespace rse {

inline std::vector<Target> cpu_targets() {
  return {{"kernel", torch::kCPU, Backend::kAuto}, {"reference", torch::kCPU, Backend::kReference}};
}

inline std::vector<Target> gpu_targets() {
  return {{"auto", torch::kCUDA, Backend::kAuto}, {"reference", torch::kCUDA, Backend::kReference}};
}

inline std::string target_name(const testing::TestParamInfo<Target>& info) { return info.param.name; }

class TargetTest : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    if (GetParam().device == torch::kCUDA && !torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
    // The reference is many small operators here: on a busy machine their threads only wait for each other.
    at::set_num_threads(GetParam().backend == Backend::kReference ? 1 : 2);
  }

  AttentionResult attend(const CaseTensors& t, AttentionOptions options) const {
    options.backend = GetParam().backend;
    return attention(t.query, t.key, t.value, t.decay, t.cu_seqlens, 0, options);
  }
};

}  // namespace rse
