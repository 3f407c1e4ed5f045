// Tests which kind and phase names of kernels and operators belong to. The names of CUDA kernels are LibTorch's,
// cuBLAS's, cuDNN's and this project's, as a profiler shows them.
#include "bench/kernel_kind.h"

#include <gtest/gtest.h>

#include "nn/step_ranges.h"

namespace rse {
namespace {

using enum KernelKind;

struct Named {
  KernelKind kind;
  const char* name;
  std::vector<std::string> ranges = {};
};

void PrintTo(const Named& named, std::ostream* out) { *out << named.name; }

class KindOf : public testing::TestWithParam<Named> {};

TEST_P(KindOf, FollowsFromNameAndRanges) {
  const Named& named = GetParam();
  EXPECT_STREQ(kind_name(kind_of(named.name, named.ranges)), kind_name(named.kind));
}

const Named kCudaKernels[] = {
    {kGemm, "nvjet_sm90_tst_128x256_64x4_2x1_v_bz_coopA_bias_TNN"},
    {kGemm, "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64"},
    {kGemm, "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_bf16_128x256_32x3_nt_align8>"},
    {kGemm, "void cublasLt::splitKreduce_kernel<32, 16, int, __nv_bfloat16>"},
    {kAttention, "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128"},
    {kAttention, "void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<Flash_bwd_kernel_traits>"},
    {kAttention, "fmha_cutlassF_bf16_aligned_64x64_rf_sm80"},
    {kAttention, "void rse::hopper::(anonymous namespace)::backward_kernel<__nv_bfloat16, 64>"},
    {kAttention, "void rse::(anonymous namespace)::find_key_norms<__nv_bfloat16>"},
    {kElementWise, "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float, float>"},
    {kElementWise, "void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl>"},
    {kElementWise, "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda>"},
    {kElementWise,
     "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::func_wrapper_t>>"},
    {kElementWise, "void at::native::(anonymous namespace)::fused_dropout_kernel_vec<c10::BFloat16, float>"},
    {kOptimizer,
     "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedAdamMathFunctor<float, 4>>"},
    {kCopy, "Memcpy HtoD (Pinned -> Device)"},
    {kCopy, "Memset (Device)"},
    {kCopy, "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>"},
    {kOther, "void at::native::(anonymous namespace)::indexSelectLargeIndex<float, long>"},
};
INSTANTIATE_TEST_SUITE_P(Cuda, KindOf, testing::ValuesIn(kCudaKernels));

const Named kOperators[] = {
    {kGemm, "aten::addmm"},
    {kGemm, "aten::t", {"aten::linear"}},
    {kAttention, "aten::_scaled_dot_product_flash_attention_for_cpu"},
    {kAttention, "rse::attention_forward"},
    {kAttention, "aten::bmm"},
    {kAttention, "aten::softmax"},
    {kElementWise, "aten::native_layer_norm"},
    {kElementWise, "rse::rotary"},
    {kElementWise, "torch::autograd::CppNode<rse::ops::(anonymous namespace)::SplitRotated>"},
    {kHead, "torch::autograd::CppNode<rse::ops::(anonymous namespace)::TargetNll>"},
    {kElementWise, "aten::empty", {"aten::native_layer_norm", "aten::layer_norm", kForwardRange}},
    {kOptimizer, "aten::_fused_adamw_"},
    {kCopy, "aten::copy_"},
    {kOther, "aten::embedding"},
    {kOther, ""},
};
INSTANTIATE_TEST_SUITE_P(Cpu, KindOf, testing::ValuesIn(kOperators));

const Named kEnclosed[] = {
    {kHead, "nvjet_sm90_tst_128x256", {"aten::addmm", "aten::linear", kHeadRange, kForwardRange}},
    {kHead, "void at::native::reduce_kernel<512>", {"aten::sum", kHeadRange}},
    {kHead, "void at::native::elementwise_kernel<128>", {"torch::autograd::CppNode<rse::MaskedLmNll>"}},
    {kHead, "aten::softmax", {kHeadRange}},
    {kOptimizer, "void at::native::elementwise_kernel<128>", {"aten::mul_", kOptimizerRange}},
    {kOptimizer, "Memcpy DtoD (Device -> Device)", {"aten::copy_", kOptimizerRange}},
    {kAttention, "void at::native::elementwise_kernel<128>", {"aten::contiguous", "rse::attention"}},
    {kAttention, "sm90_xmma_gemm_bf16bf16", {"aten::bmm", kForwardRange}},
    {kGemm, "sm90_xmma_gemm_bf16bf16", {"aten::addmm", kForwardRange}},
};
INSTANTIATE_TEST_SUITE_P(Enclosed, KindOf, testing::ValuesIn(kEnclosed));

TEST(PhaseOf, FollowsFromTheRanges) {
  EXPECT_EQ(phase_of({"aten::linear", kHeadRange, kForwardRange, kStepRange}), StepPhase::kForward);
  EXPECT_EQ(phase_of({"AddmmBackward0", kBackwardRange, kStepRange}), StepPhase::kBackward);
  EXPECT_EQ(phase_of({"aten::mul_", kOptimizerRange, kStepRange}), StepPhase::kOptimizer);
  EXPECT_EQ(phase_of({"aten::to", kStepRange}), StepPhase::kOutside);
  EXPECT_EQ(phase_of({}), StepPhase::kOutside);
  // On CUDA, backward has a thread of its own; recomputed work of forward is part of backward.
  EXPECT_EQ(phase_of({"aten::mm", "autograd::engine::evaluate_function: AddmmBackward0"}),
            StepPhase::kBackward);
  EXPECT_EQ(phase_of({"aten::mm", kForwardRange, kBackwardRange}), StepPhase::kBackward);
}

}  // namespace
}  // namespace rse
