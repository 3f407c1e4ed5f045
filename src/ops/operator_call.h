// What the lower operators rse::attention_forward and rse::attention_backward take besides tensors with
// gradients: their schema and their C++ parameter list, each written once.
//
//   rse::attention            public: attention_forward without `extent` and `saved`
//   rse::attention_forward    -> (out, rem, extent, saved); differentiable through attention_backward.
//                             `save` says that backward will follow; autograd sets it where a gradient is
//                             wanted
//   rse::attention_backward   -> gradients of query, key, value, decay; its own gradient is refused
//
// All three are registered for CPU, CUDA, Meta and Autograd.
#pragma once

#include <torch/library.h>
#include <torch/torch.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "ops/attention.h"

namespace rse::ops {

// In the order of OperatorCall's constructor. `borders`: host copy of cu_seqlens.
inline constexpr char kCallSchema[] =
    "Tensor? cu_seqlens, int[]? borders, int max_seqlen, bool causal, int window, str mass, bool self_key, "
    "str remainder, float rotary_base, float? scale, float skip_below, bool deterministic, str backend";

template <typename... Parameters>
struct ParameterList {
  using Tuple = std::tuple<Parameters...>;
};

using CallParameters = ParameterList<const std::optional<torch::Tensor>&, at::OptionalIntArrayRef, int64_t,
                                     bool, int64_t, std::string_view, bool, std::string_view, double,
                                     std::optional<double>, double, bool, std::string_view>;

struct OperatorCall {
  std::optional<torch::Tensor> cu_seqlens;
  std::vector<int64_t> borders;
  int64_t max_seqlen = 0;
  AttentionOptions options;

  OperatorCall(std::optional<torch::Tensor> cu_seqlens, at::OptionalIntArrayRef borders, int64_t max_seqlen,
               bool causal, int64_t window, std::string_view mass, bool self_key, std::string_view remainder,
               double rotary_base, std::optional<double> scale, double skip_below, bool deterministic,
               std::string_view backend);
  OperatorCall(std::optional<torch::Tensor> cu_seqlens, std::vector<int64_t> borders, int64_t max_seqlen,
               const AttentionOptions& options);

  // The constructor's arguments; they point into this object.
  CallParameters::Tuple parameters() const;
};

using ForwardTensors = std::tuple<torch::Tensor, torch::Tensor, torch::Tensor, torch::Tensor>;
using BackwardTensors = std::tuple<torch::Tensor, torch::Tensor, torch::Tensor, torch::Tensor>;

// What attention_backward takes besides what attention_forward took.
struct BackwardInputs {
  const torch::Tensor& grad_out;
  const std::optional<torch::Tensor>& grad_rem;
  const torch::Tensor& out;
  const torch::Tensor& rem;
  const torch::Tensor& extent;
  const torch::Tensor& saved;
};

// Calls through the dispatcher, from where the thread's dispatch keys stand.
ForwardTensors call_attention_forward(const torch::Tensor& query, const torch::Tensor& key,
                                      const torch::Tensor& value, const torch::Tensor& decay,
                                      const OperatorCall& call, bool save);
BackwardTensors call_attention_backward(const BackwardInputs& saved, const torch::Tensor& query,
                                        const torch::Tensor& key, const torch::Tensor& value,
                                        const torch::Tensor& decay, const OperatorCall& call);

// Names the C++ functions that a dispatch key's implementation Kernels::forward / Kernels::backward is
// registered as.
template <typename Kernels, typename Parameters>
struct LowerOperators;

template <typename Kernels, typename... Parameters>
struct LowerOperators<Kernels, ParameterList<Parameters...>> {
  static ForwardTensors forward(const torch::Tensor& query, const torch::Tensor& key,
                                const torch::Tensor& value, const torch::Tensor& decay,
                                Parameters... parameters, bool save) {
    return Kernels::forward(query, key, value, decay, OperatorCall(parameters...), save);
  }
  static BackwardTensors backward(const torch::Tensor& grad_out, const std::optional<torch::Tensor>& grad_rem,
                                  const torch::Tensor& out, const torch::Tensor& rem,
                                  const torch::Tensor& extent, const torch::Tensor& saved,
                                  const torch::Tensor& query, const torch::Tensor& key,
                                  const torch::Tensor& value, const torch::Tensor& decay,
                                  Parameters... parameters) {
    return Kernels::backward({grad_out, grad_rem, out, rem, extent, saved}, query, key, value, decay,
                             OperatorCall(parameters...));
  }
};

template <typename Kernels>
void register_lower_operators(torch::Library& library) {
  using Functions = LowerOperators<Kernels, CallParameters>;
  library.impl("attention_forward", &Functions::forward);
  library.impl("attention_backward", &Functions::backward);
}

// The kernel of rse::attention for every dispatch key: attention_forward, which has its own for each key.
std::tuple<torch::Tensor, torch::Tensor> attention_operator(
    const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
    const torch::Tensor& decay, const std::optional<torch::Tensor>& cu_seqlens, int64_t max_seqlen,
    bool causal, int64_t window, std::string_view mass, bool self_key, std::string_view remainder,
    double rotary_base, std::optional<double> scale, double skip_below, bool deterministic);

}  // namespace rse::ops
