// The launches that forward() and backward() are made of, for T in {float, __nv_bfloat16, __half} and padded
// head sizes D in {32, 64, 128}. Forward: prepare_forward, plan, attention forward. Backward:
// prepare_backward, plan with the extents, attention backward, finish_backward.
#pragma once

#include "kernels/layout.h"

namespace rse::kernels {

// Launches `kernel`, which begins with wait_for_before(), while the launch before it may still run; on the
// portable path, whose devices may not know of it, as any other.
template <typename... Parameters, typename... Arguments>
cudaError_t launch_early(Path path, void (*kernel)(Parameters...), unsigned grid, int threads, int shared,
                         cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = path == Path::kHopper ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

template <typename T, int D>
cudaError_t launch_prepare_forward(const AttentionParams& p, const Prepared& prepared, cudaStream_t stream);
template <typename T, int D>
cudaError_t launch_prepare_backward(const AttentionParams& p, const BackwardInputs& in,
                                    const Prepared& prepared, const Saved& saved, const Accumulators& acc,
                                    cudaStream_t stream);
template <typename T, int D>
cudaError_t launch_finish_backward(const AttentionParams& p, const BackwardInputs& in,
                                   const Prepared& prepared, const Accumulators& acc,
                                   const BackwardOutputs& out, cudaStream_t stream);

// Fills `reach` and `order` from norms, decay and window (forward), or `order` from the extents (backward).
cudaError_t launch_plan(const AttentionParams& p, const Prepared& prepared, const Plan& to, const int* extent,
                        cudaStream_t stream);

// On the tensor cores, for bfloat16 and float16; D in {64, 128}.
template <typename T, int D>
cudaError_t launch_forward_hopper(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                                  const ForwardOutputs& outputs, const Saved& saved, cudaStream_t stream);
// Also adds the query's own key, and where finishes_query() writes out.query.
template <typename T, int D>
cudaError_t launch_backward_hopper(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                                   const BackwardInputs& in, const Accumulators& acc,
                                   const BackwardOutputs& out, cudaStream_t stream);
template <typename T, int D>
cudaError_t launch_forward_portable(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                               const ForwardOutputs& outputs, const Saved& saved, cudaStream_t stream);
template <typename T, int D>
cudaError_t launch_backward_portable(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                                const BackwardInputs& in, const Accumulators& acc, cudaStream_t stream);
// Shared memory that a block of it takes.
int portable_backward_shared_bytes(int padded_head_dim);

// In float32 throughout; a block takes at most 97 KiB of shared memory.
template <int D>
cudaError_t launch_forward_float32(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                                const ForwardOutputs& outputs, const Saved& saved, cudaStream_t stream);
template <int D>
cudaError_t launch_backward_float32(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                                 const BackwardInputs& in, const Accumulators& acc, cudaStream_t stream);

}  // namespace rse::kernels
