// The launches that forward() and backward() of attention.h are made of, in order:
//   forward    prepare_forward, plan (by decay and window), one of the attention kernels
//   backward   prepare_backward, plan (by what forward walked), one of the attention kernels, finish_backward
// Element is float, __nv_bfloat16 or __half, and D, the padded head size, is 32, 64 or 128. All are
// asynchronous on `stream` and return what the launch returned.
#pragma once

#include "kernels/layout.h"

namespace rse::kernels {

// Launches `kernel`, which must begin with wait_for_previous_kernel(), while the launch before it may still
// run. On the portable path, whose devices may not know of this, it is launched as any other kernel.
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

// Thread blocks of an attention backward: a slot of a head each where deterministic, else an item each.
inline unsigned backward_grid(const BackwardArguments& arguments) {
  const AttentionParams& p = arguments.params;
  return static_cast<unsigned>(p.deterministic ? p.batch * p.heads * arguments.sums.slots : num_items(p));
}

template <typename Element, int D>
cudaError_t launch_prepare_forward(const AttentionParams& p, const Prepared& prepared, cudaStream_t stream);
template <typename Element, int D>
cudaError_t launch_prepare_backward(const AttentionParams& p, const BackwardInputs& in,
                                    const Prepared& prepared, const Saved& saved, const Accumulators& acc,
                                    cudaStream_t stream);
template <typename Element, int D>
cudaError_t launch_finish_backward(const AttentionParams& p, const BackwardInputs& in,
                                   const Prepared& prepared, const Accumulators& acc,
                                   const BackwardOutputs& out, cudaStream_t stream);

// Fills plan.reach and the orders from norms, decay and window (forward: extent is null), or the orders from
// the extents (backward).
cudaError_t launch_plan(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                        const int* extent, cudaStream_t stream);

// The attention kernels. Element is __nv_bfloat16 or __half, and float in float32/; D is 64 or 128 in
// hopper/.
template <typename Element, int D>
cudaError_t launch_forward_hopper(const ForwardArguments& arguments, cudaStream_t stream);
// Also adds the self key, and writes dQ to outputs.query where finishes_query().
template <typename Element, int D>
cudaError_t launch_backward_hopper(const BackwardArguments& arguments, cudaStream_t stream);
template <typename Element, int D>
cudaError_t launch_forward_portable(const ForwardArguments& arguments, cudaStream_t stream);
template <typename Element, int D>
cudaError_t launch_backward_portable(const BackwardArguments& arguments, cudaStream_t stream);
template <int D>
cudaError_t launch_forward_float32(const ForwardArguments& arguments, cudaStream_t stream);
template <int D>
cudaError_t launch_backward_float32(const BackwardArguments& arguments, cudaStream_t stream);

}  // namespace rse::kernels
