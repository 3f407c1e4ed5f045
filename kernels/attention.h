// RSE attention on CUDA devices: the plain interface of the kernels. CUDA runtime only, no Torch.
//
// Order of calls: supported() -> workspace_bytes() -> forward() -> [saved_bytes() kept] -> backward(). All
// pointers are device memory, all launches go to `stream`, nothing waits for the device, nothing is
// allocated. Shapes: query, key, value, out and their gradients [batch, seq, heads, head_dim], strided with
// unit stride in head_dim; with cu_seqlens the documents lie one after another along seq (the same in every
// batch row). Mathematics: spec sections 1 and 3; names as in section 6.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/device_info.h"
#include "kernels/saved_size.h"

namespace rse::kernels {

enum class Dtype { kFloat32, kBFloat16, kFloat16 };

// Strides in elements; unit stride in head_dim.
struct Strided {
  void* data = nullptr;
  int64_t batch = 0, token = 0, head = 0;
};

struct AttentionParams {
  Path path = Path::kPortable;
  Dtype dtype = Dtype::kBFloat16;
  int64_t batch = 1, seq = 0;
  int heads = 1, head_dim = 64;
  const int* cu_seqlens = nullptr;  // [documents + 1], from 0 to seq; null: one document of `seq` tokens
  int64_t documents = 1;
  bool causal = false, shared = false, self_key = true, remainder_self = false;
  bool deterministic = false;  // backward adds in a fixed order
  int64_t window = 0;          // 0: none; w: only |i - j| < w
  float scale = 0.125f;        // of the logits
  float skip_below = 1e-7f;    // 0: every pair
  const float *cos = nullptr,
              *sin = nullptr;  // [longest document, head_dim / 2], aligned to 16 bytes; null: no rotation
  Strided query, key, value;
  const float* decay = nullptr;  // lambda, [heads]

  int sides() const { return causal ? 1 : 2; }
};

struct ForwardOutputs {
  Strided out;
  float* rem = nullptr;   // [batch, heads, seq, sides]
  int* extent = nullptr;  // [batch, heads, seq, sides]: keys walked, counted from the row
  void* saved = nullptr;  // saved_bytes() for backward, or null: no gradient wanted
};

struct BackwardInputs {
  Strided grad_out;
  const float* grad_rem = nullptr;  // as rem, or null: zero
  const float* rem = nullptr;
  const int* extent = nullptr;
  const void* saved = nullptr;
};

struct BackwardOutputs {
  void *query = nullptr, *key = nullptr, *value = nullptr;  // [batch, seq, heads, head_dim], contiguous
  float* decay = nullptr;                                   // [heads]
};

// Null where `params.path` takes the problem on this device, else what it takes.
const char* why_not_supported(const AttentionParams& params, const DeviceInfo& device);

// Device memory that forward, backward needs while it runs, and what forward keeps for backward. Linear in
// seq. saved_bytes() is saved_floats() of saved_size.h, in bytes.
int64_t forward_workspace_bytes(const AttentionParams& params, bool keep);  // keep: outputs.saved is given
int64_t backward_workspace_bytes(const AttentionParams& params, int multiprocessors);
int64_t saved_bytes(const AttentionParams& params);

cudaError_t forward(const AttentionParams& params, const ForwardOutputs& outputs, void* workspace,
                    cudaStream_t stream);
cudaError_t backward(const AttentionParams& params, const BackwardInputs& inputs,
                     const BackwardOutputs& outputs, void* workspace, int multiprocessors,
                     cudaStream_t stream);

}  // namespace rse::kernels
