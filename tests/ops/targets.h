// The backends under test, in the suites Cpu/... and Gpu/...; the latter are skipped where there is no GPU.
#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <vector>

#include "tests/ops/attention_cases.h"

namespace rse {

inline std::vector<Target> cpu_targets() {
  return {{"kernel", torch::kCPU, Backend::kAuto}, {"reference", torch::kCPU, Backend::kReference}};
}

inline std::vector<Target> gpu_targets() {
  return {{"auto", torch::kCUDA, Backend::kAuto},
          {"reference", torch::kCUDA, Backend::kReference},
          {"portable_bf16", torch::kCUDA, Backend::kPortable, {torch::kBFloat16}},
          {"portable_fp16", torch::kCUDA, Backend::kPortable, {torch::kFloat16}},
          {"portable_fp32", torch::kCUDA, Backend::kPortable, {torch::kFloat32}},
          {"hopper_bf16", torch::kCUDA, Backend::kHopper, {torch::kBFloat16}},
          {"hopper_fp16", torch::kCUDA, Backend::kHopper, {torch::kFloat16}}};
}

inline std::string target_name(const testing::TestParamInfo<Target>& info) { return info.param.name; }

class TargetTest : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    if (GetParam().device == torch::kCUDA && !torch::cuda::is_available())
      GTEST_SKIP() << "there is no CUDA device";
    // Here the reference is many small operators, whose threads only wait for each other on a busy machine.
    at::set_num_threads(GetParam().backend == Backend::kReference ? 1 : 2);
  }

  // Returns a case of the target's first dtype. The gradient of a head's decay sums terms of both signs;
  // where they cancel, the rounding of 16-bit types is much of the sum. There are so many heads that they do
  // not cancel in all of them.
  Case make_case() const {
    Case c;
    c.dtype = GetParam().dtypes.front();
    if (GetParam().device == torch::kCUDA) c.heads = 6;
    return c;
  }

  // Returns those dtypes of `wanted` that the target takes, or all its dtypes where it takes none of them.
  std::vector<torch::ScalarType> dtypes(const std::vector<torch::ScalarType>& wanted) const {
    std::vector<torch::ScalarType> both;
    for (const auto dtype : wanted) {
      const auto& taken = GetParam().dtypes;
      if (std::find(taken.begin(), taken.end(), dtype) != taken.end()) both.push_back(dtype);
    }
    return both.empty() ? GetParam().dtypes : both;
  }

  bool low_precision() const {
    return GetParam().dtypes.front() == torch::kBFloat16 || GetParam().dtypes.front() == torch::kFloat16;
  }

  AttentionResult attend(const CaseTensors& t, AttentionOptions options) const {
    options.backend = GetParam().backend;
    return attention(t.query, t.key, t.value, t.decay, t.cu_seqlens, 0, options);
  }
};

}  // namespace rse
