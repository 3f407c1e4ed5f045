// What rse-bench attention compares: cases, their inputs, and how far a case is from the float64 reference.
//
// Order of calls: make_inputs() -> make_cases() -> why_not_here() and worst_error() for each -> forward(),
// gradients() as often as wanted.
#pragma once

#include <torch/torch.h>

#include <optional>
#include <string>
#include <vector>

#include "bench/attention.h"
#include "ops/attention.h"

namespace rse {

struct BenchInputs {
  torch::Tensor query, key, value, decay, out_grad;  // [batch, seq, heads, head_dim]; decay [heads]
};

// Bounds of src/ops/README.md section 4.
struct BenchBounds {
  double out, qkv_grad, decay_grad;
};

struct BenchPrecision {
  torch::ScalarType type;
  BenchBounds bounds;
};

// LibTorch's softmax attention: the implementation that it chooses, or one alone.
enum class Sdpa { kAny, kCudnn, kFlash };

struct BenchCase {
  std::string name;
  std::optional<AttentionOptions> rse;  // absent: the case is SDPA
  Sdpa sdpa = Sdpa::kAny;
};

// UserError for a name other than float32, bfloat16 and float16.
BenchPrecision parse_precision(const std::string& name);

// Standard normal numbers; the decay is geometric over the heads.
BenchInputs make_inputs(const AttentionBenchOptions& options, int64_t seq, torch::ScalarType type,
                        const torch::Device& device);

// SDPA comes first: cuDNN's and FlashAttention's for 16-bit types on CUDA, else the one that LibTorch
// chooses.
std::vector<BenchCase> make_cases(const AttentionBenchOptions& options, const torch::Device& device,
                                  torch::ScalarType type);

torch::Tensor forward(const BenchCase& one, const BenchInputs& inputs, bool causal);
std::vector<torch::Tensor> gradients(const BenchCase& one, const BenchInputs& inputs,
                                     const torch::Tensor& out);

// Why the case cannot run on these inputs here; empty where it can.
std::string why_not_here(const BenchCase& one, const BenchInputs& inputs, bool causal);

// The worst error of an RSE case's output and gradients against the float64 reference on the same inputs and
// settings, as a multiple of its bound: over heads spread evenly in batch row 0, six on CUDA and two
// elsewhere.
double worst_error(const BenchCase& one, const BenchInputs& inputs, const BenchBounds& bounds);

}  // namespace rse
