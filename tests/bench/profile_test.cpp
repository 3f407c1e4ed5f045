// Tests profiles on the CPU, where every operator is known: what is recorded, to which kind it goes, and that
// everything adds up.
#include "bench/profile.h"

#include <ATen/record_function.h>
#include <gmock/gmock.h>

#include <chrono>
#include <numeric>
#include <thread>

#include "nn/step_ranges.h"
#include "tests/support.h"

namespace rse {
namespace {

double calls_of(const StepProfile& profile, const std::string& name, KernelKind kind) {
  double calls = 0;
  for (const KernelTime& kernel : profile.kernels) {
    if (kernel.name == name && kernel.kind == kind) calls += kernel.calls;
  }
  return calls;
}

double sum_of_kinds(const StepProfile& profile) {
  return std::accumulate(profile.kind_ms.begin(), profile.kind_ms.end(), 0.0);
}

void expect_adds_up(const StepProfile& profile) {
  const double rounding = 1e-9 * profile.step_ms;
  EXPECT_NEAR(sum_of_kinds(profile) + profile.gap_ms, profile.step_ms, rounding);
  EXPECT_NEAR(std::accumulate(profile.phase_ms.begin(), profile.phase_ms.end(), 0.0), sum_of_kinds(profile),
              rounding);
  double kernels = 0;
  for (const KernelTime& kernel : profile.kernels) kernels += kernel.ms;
  EXPECT_NEAR(kernels, sum_of_kinds(profile), rounding);
}

// A model of two products, of which the second is the head.
class ToyStep {
 public:
  void operator()() {
    torch::Tensor loss;
    {
      RECORD_USER_SCOPE(kForwardRange);
      const torch::Tensor hidden = torch::gelu(torch::mm(input_, first_));
      loss = head(hidden).sum();
    }
    {
      RECORD_USER_SCOPE(kBackwardRange);
      loss.backward();
    }
    RECORD_USER_SCOPE(kOptimizerRange);
    const torch::NoGradGuard no_grad;
    for (torch::Tensor* weight : {&first_, &second_}) {
      weight->add_(weight->grad(), -0.01);
      weight->mutable_grad().reset();
    }
  }

 private:
  torch::Tensor head(const torch::Tensor& hidden) {
    RECORD_USER_SCOPE(kHeadRange);
    return torch::mm(hidden, second_);
  }
  torch::Tensor input_ = torch::randn({64, 64});
  torch::Tensor first_ = torch::randn({64, 64}).requires_grad_(true);
  torch::Tensor second_ = torch::randn({64, 64}).requires_grad_(true);
};

TEST(Profile, OperatorsGoToTheirKindsInForwardAndBackward) {
  const StepProfile profile = profile_steps(torch::kCPU, 4, ToyStep());
  EXPECT_EQ(profile.steps, 4);
  expect_adds_up(profile);
  // The body's product and its gradient by the weight (the input needs none); the head's product and both.
  EXPECT_EQ(calls_of(profile, "aten::mm", KernelKind::kGemm), 2);
  EXPECT_EQ(calls_of(profile, "aten::mm", KernelKind::kHead), 3);
  EXPECT_EQ(calls_of(profile, "aten::gelu", KernelKind::kElementWise), 1);
  EXPECT_EQ(calls_of(profile, "aten::gelu_backward", KernelKind::kElementWise), 1);
  EXPECT_EQ(calls_of(profile, "aten::add_", KernelKind::kOptimizer), 2);
  for (const StepPhase phase : {StepPhase::kForward, StepPhase::kBackward, StepPhase::kOptimizer}) {
    EXPECT_GT(profile.phase_ms[static_cast<size_t>(phase)], 0) << phase_name(phase);
  }
  EXPECT_GE(profile.gap_ms, 0);
}

TEST(Profile, TimeWithoutOperatorsIsTheGap) {
  const StepProfile profile = profile_steps(torch::kCPU, 2, [] {
    torch::ones({4});
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  expect_adds_up(profile);
  EXPECT_GE(profile.gap_ms, 20);
}

TEST(Profile, TheFirstStepDoesNotCount) {
  int step = 0;
  const StepProfile profile = profile_steps(torch::kCPU, 1, [&] {
    if (step++ == 0) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    torch::ones({4});
  });
  EXPECT_EQ(step, 2);
  EXPECT_LT(profile.step_ms, 400);
}

TEST(Profile, AFailureEndsTheRecording) {
  EXPECT_THROW(profile_steps(torch::kCPU, 1, [] { throw UserError("stop"); }), UserError);
  EXPECT_GT(profile_steps(torch::kCPU, 1, ToyStep()).step_ms, 0);
}

// Backward has a thread of its own here, and kernels carry the names of LibTorch's libraries.
TEST(GpuProfile, KernelsGoToTheirKinds) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const torch::Device device(torch::kCUDA);
  const auto weight = [&] { return torch::randn({1024, 1024}, device).requires_grad_(true); };
  const torch::Tensor input = torch::randn({1024, 1024}, device), first = weight(), second = weight();
  const StepProfile profile = profile_steps(device, 3, [&] {
    const torch::Tensor hidden = torch::gelu(torch::mm(input, first));
    torch::Tensor loss;
    {
      RECORD_USER_SCOPE(kHeadRange);
      loss = torch::mm(hidden, second).sum();
    }
    loss.backward();
    for (const torch::Tensor& each : {first, second}) each.mutable_grad().reset();
  });
  expect_adds_up(profile);
  for (const KernelKind kind : {KernelKind::kGemm, KernelKind::kElementWise, KernelKind::kHead}) {
    EXPECT_GT(profile.kind_ms[static_cast<size_t>(kind)], 0) << kind_name(kind);
  }
  // Two products outside the head of five.
  const double gemm = profile.kind_ms[static_cast<size_t>(KernelKind::kGemm)];
  EXPECT_LT(gemm, profile.kind_ms[static_cast<size_t>(KernelKind::kHead)]);
  EXPECT_GT(profile.phase_ms[static_cast<size_t>(StepPhase::kBackward)], 0);
  EXPECT_GE(profile.gap_ms, 0);
}

}  // namespace
}  // namespace rse
