// The kernels' plain interface. This file turns path, dtype and head size, known at run time, into template
// arguments; every combination that it names is instantiated in the passes and tested.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "kernels/passes.h"

namespace rse::kernels {
namespace {

template <typename Element, int D>
cudaError_t launch_forward(const ForwardArguments& arguments, cudaStream_t stream) {
  if constexpr (std::is_same_v<Element, float>) {
    return launch_forward_float32<D>(arguments, stream);
  } else {
    if constexpr (D >= 64) {
      if (arguments.params.path == Path::kHopper) return launch_forward_hopper<Element, D>(arguments, stream);
    }
    return launch_forward_portable<Element, D>(arguments, stream);
  }
}

template <typename Element, int D>
cudaError_t launch_backward(const BackwardArguments& arguments, cudaStream_t stream) {
  if constexpr (std::is_same_v<Element, float>) {
    return launch_backward_float32<D>(arguments, stream);
  } else {
    if constexpr (D >= 64) {
      if (arguments.params.path == Path::kHopper)
        return launch_backward_hopper<Element, D>(arguments, stream);
    }
    return launch_backward_portable<Element, D>(arguments, stream);
  }
}

template <typename Element, int D>
cudaError_t forward_of(const AttentionParams& p, const ForwardOutputs& outputs, void* workspace,
                       cudaStream_t stream) {
  const bool keep = outputs.saved != nullptr;
  Arena work(workspace), kept(outputs.saved);
  const Plan plan(p, work);
  const Prepared prepared(p, keep ? kept : work);
  const Saved saved = keep ? Saved(p, kept) : Saved();
  if (const cudaError_t error = launch_prepare_forward<Element, D>(p, prepared, stream)) return error;
  if (const cudaError_t error = launch_plan(p, prepared, plan, nullptr, stream)) return error;
  return launch_forward<Element, D>({p, prepared, plan, outputs, saved}, stream);
}

template <typename Element, int D>
cudaError_t backward_of(const AttentionParams& p, const BackwardInputs& in, const BackwardOutputs& out,
                        void* workspace, int multiprocessors, cudaStream_t stream) {
  Arena work(workspace), kept(const_cast<void*>(in.saved));
  const Plan plan(p, work);
  const Accumulators sums(p, multiprocessors, work);
  const Prepared prepared(p, kept);
  const Saved saved(p, kept);
  if (const cudaError_t error = launch_prepare_backward<Element, D>(p, in, prepared, saved, sums, stream))
    return error;
  if (const cudaError_t error = launch_plan(p, prepared, plan, in.extent, stream)) return error;
  if (const cudaError_t error =
          launch_backward<Element, D>({p, prepared, saved, plan, in, sums, out}, stream))
    return error;
  return launch_finish_backward<Element, D>(p, in, prepared, sums, out, stream);
}

// Calls call(a number of the element type, the padded head size as std::integral_constant).
template <typename Call>
cudaError_t switch_type(const AttentionParams& p, Call call) {
  const auto size = [&](auto type) {
    switch (padded_head_dim(p)) {
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
      return size(float());
  }
}

const char* why_not_hopper(const AttentionParams& p, const DeviceInfo& device) {
#ifdef RSE_KERNELS_FOR_90A
  if (device.major != 9 || device.minor != 0) return "the hopper kernels need compute capability 9.0";
  if (p.dtype == Dtype::kFloat32) return "the hopper kernels take bfloat16 and float16";
  return nullptr;
#else
  return "this program was built without 90a among RSE_CUDA_ARCHITECTURES";
#endif
}

// Shared memory that a block of the portable backward takes.
int portable_shared_bytes(int padded_head_dim) {
  switch (padded_head_dim) {
    case 32:
      return portable::BackwardTile<32>::kSharedBytes;
    case 64:
      return portable::BackwardTile<64>::kSharedBytes;
    default:
      return portable::BackwardTile<128>::kSharedBytes;
  }
}

const char* why_not_portable(const AttentionParams& p, const DeviceInfo& device) {
  if (device.major < 8) return "the portable kernels need compute capability 8.0 or newer";
  if (p.dtype != Dtype::kFloat32 && portable_shared_bytes(padded_head_dim(p)) > device.shared_bytes_per_block)
    return "the portable kernels take bfloat16 and float16 with head_dim up to 64 on a device with less than "
           "160 KiB of shared memory per block";
  return nullptr;
}

}  // namespace

const char* why_not_supported(const AttentionParams& p, const DeviceInfo& device) {
  if (p.head_dim < 8 || p.head_dim > 128 || p.head_dim % 8 != 0)
    return "the CUDA kernels take head_dim 8 to 128 in steps of 8";
  if (p.seq >= (int64_t{1} << 31) - kRows || num_items(p) >= int64_t{1} << 29)
    return "the CUDA kernels take fewer than 2^31 tokens and 2^29 blocks of 128 queries";
  return p.path == Path::kHopper ? why_not_hopper(p, device) : why_not_portable(p, device);
}

int64_t forward_workspace_bytes(const AttentionParams& p, bool keep) {
  Arena arena(nullptr);
  const Plan plan(p, arena);
  if (!keep) const Prepared prepared(p, arena);
  return arena.used();
}

int64_t backward_workspace_bytes(const AttentionParams& p, int multiprocessors) {
  Arena arena(nullptr);
  const Plan plan(p, arena);
  const Accumulators acc(p, multiprocessors, arena);
  return arena.used();
}

int64_t saved_bytes(const AttentionParams& p) {
  Arena arena(nullptr);
  const Prepared prepared(p, arena);
  const Saved saved(p, arena);
  return arena.used();
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
