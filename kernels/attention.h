// RSE attention on CUDA devices: the plain interface of the kernels. CUDA runtime only, no Torch.
//
// Order of calls: why_not_supported(), forward_workspace_bytes() and saved_bytes(), forward(); for gradients
// then backward_workspace_bytes(), backward() with what forward saved. All pointers are device memory, all
// launches go to `stream`, nothing waits for the device, nothing is allocated. Shapes: query, key, value, out
// and their gradients are [batch, seq, heads, head_dim], strided with unit stride in head_dim; with
// cu_seqlens the documents lie one after another along seq (the same in every batch row). The mathematics is
// in src/ops/README.md sections 1 and 3; the names of options are those of section 6.
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

// One problem. why_not_supported() tells what a path cannot do; nothing else checks these values.
struct AttentionParams {
  Path path = Path::kPortable;
  Dtype dtype = Dtype::kBFloat16;
  int64_t batch = 1, seq = 0;
  int heads = 1, head_dim = 64;
  const int* cu_seqlens = nullptr;  // [documents + 1], from 0 to seq; null: one document of `seq` tokens
  int64_t documents = 1;
  bool causal = false;          // keys after the query take no part
  bool shared = false;          // mass = shared: the self key comes first, the sticks share what it leaves
  bool self_key = true;         // the query's own key takes part
  bool remainder_self = false;  // remainder = self: what is left of the sticks goes to the query's own value
  bool deterministic = false;   // backward adds in a fixed order
  int64_t window = 0;           // 0: no window; w: only keys with |i - j| < w take part
  float scale = 0.125f;         // of the logits
  float skip_below = 1e-7f;  // weights that together stay below it may be skipped; 0: every pair is computed
  // Tables of the rotation, [longest document, head_dim / 2], aligned to 16 bytes; null: no rotation.
  const float *cos = nullptr, *sin = nullptr;
  Strided query, key, value;
  const float* decay = nullptr;  // lambda, [heads]

  int sides() const { return causal ? 1 : 2; }
};

struct ForwardOutputs {
  Strided out;
  float* rem = nullptr;   // [batch, heads, seq, sides]
  int* extent = nullptr;  // [batch, heads, seq, sides]: the number of keys walked, counted from the row
  void* saved = nullptr;  // saved_bytes() for backward; null: no gradient is wanted
};

struct BackwardInputs {
  Strided grad_out;
  const float* grad_rem = nullptr;  // shaped as rem; null: zero
  const float* rem = nullptr;
  const int* extent = nullptr;
  const void* saved = nullptr;
};

struct BackwardOutputs {
  void *query = nullptr, *key = nullptr, *value = nullptr;  // [batch, seq, heads, head_dim], contiguous
  float* decay = nullptr;                                   // [heads]
};

// Null where `params.path` takes the problem on this device, else a sentence that says what it takes.
const char* why_not_supported(const AttentionParams& params, const DeviceInfo& device);

// The device memory that forward and backward need while they run, and what forward keeps for backward. All
// are linear in seq. saved_bytes() is saved_floats() of saved_size.h, in bytes. keep: outputs.saved is given.
int64_t forward_workspace_bytes(const AttentionParams& params, bool keep);
int64_t backward_workspace_bytes(const AttentionParams& params, int multiprocessors);
int64_t saved_bytes(const AttentionParams& params);

// Launch the passes; return what the launches returned.
cudaError_t forward(const AttentionParams& params, const ForwardOutputs& outputs, void* workspace,
                    cudaStream_t stream);
cudaError_t backward(const AttentionParams& params, const BackwardInputs& inputs,
                     const BackwardOutputs& outputs, void* workspace, int multiprocessors,
                     cudaStream_t stream);

}  // namespace rse::kernels
