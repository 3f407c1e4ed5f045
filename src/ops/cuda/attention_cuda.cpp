// forward_cuda and backward_cuda: a problem in the kernels' terms, its outputs and workspace from LibTorch's
// caching allocator, launched on the current stream of the tensors' device.
#include <ATen/cuda/CUDAContext.h>
#include <c10/core/DeviceGuard.h>

#include <map>
#include <mutex>

#include "core/check.h"
#include "kernels/attention.h"
#include "ops/attention_problem.h"
#include "ops/backend.h"
#include "ops/workspace.h"

namespace rse::ops {
namespace {

using torch::Tensor;

// Cached, because asking the driver takes longer than an attention call. A device that does not answer counts
// as one that takes no problem.
const kernels::DeviceInfo& info_of(const torch::Device& device) {
  static std::mutex mutex;
  static std::map<int, kernels::DeviceInfo> known;
  int index = device.index();
  if (!device.has_index()) cudaGetDevice(&index);  // the current one
  const std::lock_guard lock(mutex);
  const auto [entry, is_new] = known.try_emplace(index);
  if (is_new && kernels::device_info(index, &entry->second) != cudaSuccess) entry->second = {};
  return entry->second;
}

kernels::Dtype dtype_of(torch::ScalarType type) {
  switch (type) {
    case torch::kBFloat16:
      return kernels::Dtype::kBFloat16;
    case torch::kFloat16:
      return kernels::Dtype::kFloat16;
    default:
      return kernels::Dtype::kFloat32;
  }
}

kernels::Strided strided(const Tensor& x) {
  return {const_cast<void*>(x.const_data_ptr()), x.stride(0), x.stride(1), x.stride(2)};
}

void check_launch(cudaError_t error, const char* pass) {
  if (error != cudaSuccess) {
    throw std::runtime_error(
        fmt::format("attention: {} on the GPU failed: {}", pass, cudaGetErrorString(error)));
  }
}

// A problem's parameters and what they point to.
struct CudaCall {
  const c10::DeviceGuard guard;
  const cudaStream_t stream;
  kernels::AttentionParams params;
  std::pair<Tensor, Tensor> rotation;

  explicit CudaCall(const AttentionProblem& problem)
      : guard(problem.query.device()),
        stream(at::cuda::getCurrentCUDAStream(problem.query.device().index())),
        params(params_of(problem)) {
    const char* why = kernels::why_not_supported(params, info_of(problem.query.device()));
    if (why != nullptr)
      throw_user_error("attention: backend is '{}', but {}", to_string(problem.options.backend), why);
    if (problem.options.rotary_base > 0) {
      rotation = rotary_tables(problem.longest_document(), problem.head_dim(), problem.options.rotary_base,
                               torch::kFloat32, problem.query.device());
      params.cos = rotation.first.const_data_ptr<float>();
      params.sin = rotation.second.const_data_ptr<float>();
    }
  }

 private:
  static kernels::AttentionParams params_of(const AttentionProblem& problem) {
    kernels::AttentionParams params;
    params.dtype = dtype_of(problem.query.scalar_type());
    params.path = path_of(problem.options.backend);
    params.batch = problem.batch();
    params.seq = problem.seq();
    params.heads = static_cast<int>(problem.heads());
    params.head_dim = static_cast<int>(problem.head_dim());
    if (problem.packed) params.cu_seqlens = problem.cu_seqlens.const_data_ptr<int>();
    params.documents = static_cast<int64_t>(problem.borders.size()) - 1;
    params.causal = problem.options.causal;
    params.shared = problem.options.mass == Mass::kShared;
    params.self_key = problem.options.self_key;
    params.remainder_self = problem.options.remainder == Remainder::kSelf;
    params.deterministic = problem.options.deterministic;
    params.window = problem.options.window;
    params.scale = static_cast<float>(problem.scale);
    params.skip_below = static_cast<float>(problem.options.skip_below);
    params.query = strided(problem.query);
    params.key = strided(problem.key);
    params.value = strided(problem.value);
    params.decay = problem.decay.const_data_ptr<float>();
    return params;
  }
};

Tensor bytes_on(const torch::Device& device, int64_t bytes) {
  return torch::empty({bytes}, torch::dtype(torch::kUInt8).device(device));
}

}  // namespace

const char* why_not_kernels(Backend backend, const torch::Device& device, torch::ScalarType dtype,
                            int64_t head_dim) {
  if (!device.is_cuda()) return "the CUDA kernels run on CUDA devices";
  if (dtype == torch::kFloat64) return "the CUDA kernels take bfloat16, float16 and float32";
  kernels::AttentionParams params;
  params.path = path_of(backend);
  params.dtype = dtype_of(dtype);
  params.head_dim = static_cast<int>(head_dim);
  return kernels::why_not_supported(params, info_of(device));
}

ForwardResult forward_cuda(const AttentionProblem& problem, bool save) {
  const CudaCall call(problem);
  const auto options = problem.query.options();
  const int64_t batch = problem.batch(), seq = problem.seq(), heads = problem.heads(),
                sides = problem.sides();
  ForwardResult result;
  result.out = torch::empty({batch, seq, heads, problem.head_dim()}, options);
  result.rem = torch::empty({batch, heads, seq, sides}, options.dtype(torch::kFloat32));
  result.extent = torch::empty({batch, heads, seq, sides}, options.dtype(torch::kInt32));
  result.saved = empty_saved(problem, save);
  const Tensor workspace =
      bytes_on(problem.query.device(), kernels::forward_workspace_bytes(call.params, save));
  RSE_ASSERT(!save || static_cast<int64_t>(result.saved.nbytes()) == kernels::saved_bytes(call.params),
             "{} bytes for backward, the kernels keep {}", result.saved.nbytes(),
             kernels::saved_bytes(call.params));
  const kernels::ForwardOutputs outputs{strided(result.out), result.rem.data_ptr<float>(),
                                        result.extent.data_ptr<int>(),
                                        save ? result.saved.data_ptr() : nullptr};
  check_launch(kernels::forward(call.params, outputs, workspace.data_ptr(), call.stream), "forward");
  return result;
}

int64_t backward_workspace_cuda(const AttentionProblem& problem) {
  return kernels::backward_workspace_bytes(CudaCall(problem).params,
                                           info_of(problem.query.device()).multiprocessors);
}

Gradients backward_cuda(const AttentionProblem& problem, const ForwardResult& saved, const Tensor& grad_out,
                        const Tensor& grad_rem) {
  const CudaCall call(problem);
  if (static_cast<int64_t>(saved.saved.nbytes()) != kernels::saved_bytes(call.params)) {
    throw_user_error(
        "attention_backward: saved has {} bytes, expected {}: what attention_forward returns with "
        "save and the same options",
        saved.saved.nbytes(), kernels::saved_bytes(call.params));
  }
  const int multiprocessors = info_of(problem.query.device()).multiprocessors;
  const auto options = problem.query.options();
  Gradients gradients;
  gradients.query = torch::empty(problem.query.sizes(), options);
  gradients.key = torch::empty(problem.query.sizes(), options);
  gradients.value = torch::empty(problem.query.sizes(), options);
  gradients.decay = torch::empty({problem.heads()}, options.dtype(torch::kFloat32));
  const Tensor workspace =
      bytes_on(problem.query.device(), kernels::backward_workspace_bytes(call.params, multiprocessors));
  const kernels::BackwardInputs inputs{
      strided(grad_out), grad_rem.defined() ? grad_rem.const_data_ptr<float>() : nullptr,
      saved.rem.const_data_ptr<float>(), saved.extent.const_data_ptr<int>(), saved.saved.const_data_ptr()};
  const kernels::BackwardOutputs outputs{gradients.query.data_ptr(), gradients.key.data_ptr(),
                                         gradients.value.data_ptr(), gradients.decay.data_ptr<float>()};
  check_launch(
      kernels::backward(call.params, inputs, outputs, workspace.data_ptr(), multiprocessors, call.stream),
      "backward");
  return gradients;
}

}  // namespace rse::ops
