// The kernels' plain interface: from run-time values to the instantiations.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/passes.h"

namespace rse::kernels {
namespace {

template <typename T, int D>
cudaError_t forward_of(const AttentionParams& p, const ForwardOutputs& outputs, void* workspace,
                       cudaStream_t stream) {
  Arena arena(workspace);
  const Prepared prepared(p, arena);
  const Saved saved(p, outputs.saved);
  if (const cudaError_t error = launch_prepare_forward<T, D>(p, prepared, stream)) return error;
  if (const cudaError_t error = launch_plan(p, prepared, nullptr, stream)) return error;
  return launch_forward_mma<T, D>(p, prepared, outputs, saved, stream);
}

template <typename T, int D>
cudaError_t backward_of(const AttentionParams& p, const BackwardInputs& in, const BackwardOutputs& out,
                        void* workspace, int multiprocessors, cudaStream_t stream) {
  Arena arena(workspace);
  const Prepared prepared(p, arena);
  const Accumulators acc(p, multiprocessors, arena);
  const Saved saved(p, const_cast<void*>(in.saved));
  if (const cudaError_t error = launch_prepare_forward<T, D>(p, prepared, stream)) return error;
  if (const cudaError_t error = launch_prepare_backward<T, D>(p, in, prepared, saved, acc, stream))
    return error;
  if (const cudaError_t error = launch_plan(p, prepared, in.extent, stream)) return error;
  if (const cudaError_t error = launch_backward_mma<T, D>(p, prepared, in, acc, stream)) return error;
  return launch_finish_backward<T, D>(p, in, prepared, acc, out, stream);
}

template <typename Call>
cudaError_t switch_type(const AttentionParams& p, Call call) {
  const auto size = [&](auto type) {
    switch (padded_head_dim(p.head_dim)) {
      case 32:
        return call(type, std::integral_constant<int, 32>());
      case 64:
        return call(type, std::integral_constant<int, 64>());
      default:
        return call(type, std::integral_constant<int, 128>());
    }
  };
  switch (p.dtype) {
    case Dtype::kBFloat16:
      return size(__nv_bfloat16());
    case Dtype::kFloat16:
      return size(__half());
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace

int padded_head_dim(int head_dim) { return head_dim <= 32 ? 32 : head_dim <= 64 ? 64 : 128; }

const char* why_not_supported(const AttentionParams& p, const DeviceInfo& device) {
  if (device.major < 8) return "the portable kernels need compute capability 8.0 or newer";
  if (p.dtype == Dtype::kFloat32) return "the portable kernels take bfloat16 and float16";
  if (p.head_dim < 8 || p.head_dim > 128 || p.head_dim % 8 != 0)
    return "the portable kernels take head_dim 8 to 128 in steps of 8";
  if (backward_mma_shared_bytes(padded_head_dim(p.head_dim)) > device.shared_bytes_per_block)
    return "the portable kernels take head_dim up to 64 on a device with less than 160 KiB of shared memory "
           "a block";
  if (p.seq >= (int64_t{1} << 31) - kRows || num_items(p) >= int64_t{1} << 31)
    return "the portable kernels take fewer than 2^31 tokens and blocks of 128 queries";
  return nullptr;
}

int64_t forward_workspace_bytes(const AttentionParams& p) {
  Arena arena(nullptr);
  const Prepared prepared(p, arena);
  return arena.used();
}

int64_t backward_workspace_bytes(const AttentionParams& p, int multiprocessors) {
  Arena arena(nullptr);
  const Prepared prepared(p, arena);
  const Accumulators acc(p, multiprocessors, arena);
  return arena.used();
}

int64_t saved_bytes(const AttentionParams& p) {
  return p.sides() * p.batch * p.heads * p.seq * padded_head_dim(p.head_dim) *
         static_cast<int64_t>(sizeof(float));
}

cudaError_t forward(const AttentionParams& p, const ForwardOutputs& outputs, void* workspace,
                    cudaStream_t stream) {
  return switch_type(p, [&](auto type, auto size) {
    return forward_of<decltype(type), size()>(p, outputs, workspace, stream);
  });
}

cudaError_t backward(const AttentionParams& p, const BackwardInputs& in, const BackwardOutputs& out,
                     void* workspace, int multiprocessors, cudaStream_t stream) {
  return switch_type(p, [&](auto type, auto size) {
    return backward_of<decltype(type), size()>(p, in, out, workspace, multiprocessors, stream);
  });
}

}  // namespace rse::kernels
