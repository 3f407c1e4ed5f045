#include "bench/cases.h"

#include <ATen/Context.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/check.h"

namespace rse {
namespace {

// While it lives, SDPA has one implementation to choose from (kAny: all).
class SdpaChoice {
 public:
  explicit SdpaChoice(Sdpa wanted) {
    if (wanted == Sdpa::kAny) return;
    set(wanted == Sdpa::kCudnn, wanted == Sdpa::kFlash, false);
  }
  ~SdpaChoice() { set(true, true, true); }
  SdpaChoice(const SdpaChoice&) = delete;
  SdpaChoice& operator=(const SdpaChoice&) = delete;

 private:
  static void set(bool cudnn, bool flash, bool others) {
    at::Context& context = at::globalContext();
    context.setSDPUseCuDNN(cudnn);
    context.setSDPUseFlash(flash);
    context.setSDPUseMemEfficient(others);
    context.setSDPUseMath(others);
  }
};

double relative_error(const torch::Tensor& value, const torch::Tensor& expected) {
  const double norm = expected.norm().item<double>();
  const double difference = (value.detach().to(torch::kFloat64) - expected).norm().item<double>();
  return norm > 0 ? difference / norm : difference;
}

// Some heads of batch row 0, as leaves of `type` (decay: float32, or float64 with float64).
BenchInputs some_heads(const BenchInputs& inputs, torch::ScalarType type) {
  const int64_t heads = inputs.query.size(2);
  const int64_t count = std::min<int64_t>(heads, inputs.query.is_cuda() ? 6 : 2);
  const auto chosen = torch::arange(count, torch::dtype(torch::kInt64).device(inputs.query.device()))
                          .mul(heads)
                          .floor_divide(count);
  const auto leaf = [&](const torch::Tensor& x, int64_t head_axis, torch::ScalarType to) {
    return x.detach().index_select(head_axis, chosen).to(to).requires_grad_(true);
  };
  const auto rows = [&](const torch::Tensor& x) { return leaf(x.narrow(0, 0, 1), 2, type); };
  return {rows(inputs.query), rows(inputs.key), rows(inputs.value),
          leaf(inputs.decay, 0, type == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32),
          rows(inputs.out_grad).detach()};
}

}  // namespace

BenchPrecision parse_precision(const std::string& name) {
  static const std::map<std::string, BenchPrecision> known = {
      {"float32", {torch::kFloat32, {1e-5, 1e-5, 1e-4}}},
      {"bfloat16", {torch::kBFloat16, {4e-3, 6e-3, 1e-2}}},
      {"float16", {torch::kFloat16, {1e-3, 2e-3, 5e-3}}}};
  const auto found = known.find(name);
  if (found == known.end()) throw_user_error("--dtype: '{}': expected float32, bfloat16 or float16", name);
  return found->second;
}

BenchInputs make_inputs(const AttentionBenchOptions& options, int64_t seq, torch::ScalarType type,
                        const torch::Device& device) {
  torch::manual_seed(options.seed);
  const auto random = [&] {
    return torch::randn({options.batch, seq, options.heads, options.head_dim}).to(type).to(device);
  };
  BenchInputs inputs{random(), random(), random(), {}, random()};
  torch::Tensor decay = torch::zeros({options.heads}, torch::kFloat64);
  if (options.decay.front() > 0) {
    decay = torch::linspace(std::log(options.decay.front()), std::log(options.decay.back()), options.heads,
                            torch::kFloat64)
                .exp();
  }
  inputs.decay = decay.to(torch::kFloat32).to(device);
  for (torch::Tensor* tensor : {&inputs.query, &inputs.key, &inputs.value, &inputs.decay}) {
    tensor->requires_grad_(true);
  }
  return inputs;
}

std::vector<BenchCase> make_cases(const AttentionBenchOptions& options, const torch::Device& device,
                                  torch::ScalarType type) {
  AttentionOptions dense;
  dense.causal = options.causal;
  dense.self_key = options.self_key;
  dense.rotary_base = options.rotary_base;
  dense.backend = parse_backend(options.backend);
  AttentionOptions skipping = dense;
  dense.skip_below = 0;
  std::vector<BenchCase> cases;
  if (device.is_cuda() && type != torch::kFloat32) {
    cases = {{"sdpa cudnn", std::nullopt, Sdpa::kCudnn}, {"sdpa flash", std::nullopt, Sdpa::kFlash}};
  } else {
    cases = {{"sdpa", std::nullopt, Sdpa::kAny}};
  }
  cases.push_back({"rse dense", dense, Sdpa::kAny});
  cases.push_back({"rse skipping", skipping, Sdpa::kAny});
  return cases;
}

torch::Tensor forward(const BenchCase& one, const BenchInputs& inputs, bool causal) {
  if (one.rse) {
    return attention(inputs.query, inputs.key, inputs.value, inputs.decay, std::nullopt, 0, *one.rse).out;
  }
  const SdpaChoice choice(one.sdpa);
  return at::scaled_dot_product_attention(inputs.query.transpose(1, 2), inputs.key.transpose(1, 2),
                                          inputs.value.transpose(1, 2), {}, 0.0, causal)
      .transpose(1, 2);
}

std::vector<torch::Tensor> gradients(const BenchCase& one, const BenchInputs& inputs,
                                     const torch::Tensor& out) {
  std::vector<torch::Tensor> wanted = {inputs.query, inputs.key, inputs.value};
  if (one.rse) wanted.push_back(inputs.decay);
  return torch::autograd::grad({out}, wanted, {inputs.out_grad});
}

std::string why_not_here(const BenchCase& one, const BenchInputs& inputs, bool causal) {
  if (one.rse || one.sdpa == Sdpa::kAny) return "";
  try {
    gradients(one, inputs, forward(one, inputs, causal));
    return "";
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
}

double worst_error(const BenchCase& one, const BenchInputs& inputs, const BenchBounds& bounds) {
  const BenchInputs low = some_heads(inputs, inputs.query.scalar_type());
  const BenchInputs high = some_heads(inputs, torch::kFloat64);
  BenchCase reference = one;
  reference.rse->backend = Backend::kReference;
  reference.rse->skip_below = 0;
  const torch::Tensor out = forward(one, low, false), expected = forward(reference, high, false);
  const auto grads = gradients(one, low, out), expected_grads = gradients(reference, high, expected);
  double worst = 0;
  // std::max would lose a NaN, and with it the refusal to print.
  const auto note = [&](double share) {
    worst = std::isfinite(share) ? std::max(worst, share) : std::numeric_limits<double>::infinity();
  };
  note(relative_error(out, expected.detach()) / bounds.out);
  for (size_t n = 0; n < grads.size(); ++n) {
    const double error = relative_error(grads[n], expected_grads[n]);
    note(error / (n == 3 ? bounds.decay_grad : bounds.qkv_grad));
  }
  return worst;
}

}  // namespace rse
