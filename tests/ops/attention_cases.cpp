#include "tests/ops/attention_cases.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

namespace rse {

using torch::Tensor;

namespace {

torch::ScalarType decay_dtype(const Case& c) {
  return c.dtype == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

// Returns three tensors [batch, seq_len, heads, head_dim] with the case's strides.
std::vector<Tensor> make_qkv(const Case& c, const torch::Device& device) {
  const int64_t seq = c.borders.back(), heads = c.heads, dim = c.head_dim;
  const auto random = [&](at::IntArrayRef sizes) {
    return torch::randn(sizes, torch::kFloat64).to(device, c.dtype);
  };
  switch (c.layout) {
    case InputLayout::kContiguous:
      return {random({c.batch, seq, heads, dim}), random({c.batch, seq, heads, dim}),
              random({c.batch, seq, heads, dim})};
    case InputLayout::kFusedQkv:
      return random({c.batch, seq, 3, heads, dim}).unbind(2);
    case InputLayout::kHeadsFirst: {
      const Tensor stored = random({3, c.batch, heads, seq, dim});
      return stored.transpose(2, 3).unbind(0);
    }
    case InputLayout::kGapsInHeads: {
      const Tensor stored = random({3, c.batch, seq, 2 * heads, dim});
      return stored.slice(3, 0, 2 * heads, 2).unbind(0);
    }
  }
  throw std::logic_error("unknown layout");
}

Tensor as_leaf(const Case& c, const Tensor& x) {
  return (c.packed ? x.squeeze(0) : x).detach().requires_grad_();
}

Tensor to_oracle(const Case& c, const Tensor& x) {
  const Tensor values = x.detach().to(torch::kCPU, torch::kFloat64);
  return c.packed ? values.unsqueeze(0) : values;
}

// A packed call returns rem as [total, heads, sides].
Tensor rem_to_oracle(const Case& c, const Tensor& rem) {
  const Tensor values = rem.detach().to(torch::kCPU, torch::kFloat64);
  return c.packed ? values.transpose(0, 1).unsqueeze(0) : values;
}

}  // namespace

void poison_free_memory(torch::DeviceType device) {
  if (device == torch::kCPU) return;
  const auto options = torch::dtype(torch::kFloat32).device(device);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<Tensor> poison;  // the allocator keeps small and large blocks apart: 32 x 512 KiB, 4 x 16 MiB
  for (int n = 0; n < 32; ++n) poison.push_back(torch::full({1 << 17}, nan, options));
  for (int n = 0; n < 4; ++n) poison.push_back(torch::full({1 << 22}, nan, options));
}

CaseTensors make_tensors(const Case& c, const torch::Device& device) {
  torch::manual_seed(c.seed);
  const int64_t seq = c.borders.back(), sides = c.options.causal ? 1 : 2;
  std::vector<Tensor> qkv = make_qkv(c, device);
  qkv[0].mul_(c.query_scale);
  CaseTensors t;
  t.query = as_leaf(c, qkv[0]);
  t.key = as_leaf(c, qkv[1]);
  t.value = as_leaf(c, qkv[2]);
  t.decay = torch::linspace(c.decay_from, c.decay_to, c.heads, torch::kFloat64)
                .to(device, decay_dtype(c))
                .requires_grad_();
  if (c.packed) {
    t.cu_seqlens = torch::tensor(c.borders, torch::kInt64).to(device, torch::kInt32);
  }
  t.grad_out = torch::randn(t.query.sizes(), torch::kFloat64).to(device, c.dtype);
  const std::vector<int64_t> rem_sizes = c.packed ? std::vector<int64_t>{seq, c.heads, sides}
                                                  : std::vector<int64_t>{c.batch, c.heads, seq, sides};
  t.grad_rem = torch::randn(rem_sizes, torch::kFloat64).to(device, decay_dtype(c));
  return t;
}

double relative_error(const Tensor& x, const Tensor& reference) {
  const double size = reference.norm().item<double>();
  const double difference = (x - reference).norm().item<double>();
  return size > 0 ? difference / size : difference;
}

void RelativeErrors::keep_worst(const RelativeErrors& other) {
  out = std::max(out, other.out);
  rem = std::max(rem, other.rem);
  query = std::max(query, other.query);
  key = std::max(key, other.key);
  value = std::max(value, other.value);
  decay = std::max(decay, other.decay);
}

CaseResults results_of(const Case& c, const CaseTensors& t, const Target& target) {
  AttentionOptions options = c.options;
  options.backend = target.backend;
  poison_free_memory(target.device);
  const AttentionResult result = attention(t.query, t.key, t.value, t.decay, t.cu_seqlens, 0, options);
  poison_free_memory(target.device);
  const auto grad = torch::autograd::grad({result.out, result.rem}, {t.query, t.key, t.value, t.decay},
                                          {t.grad_out, t.grad_rem});
  return {to_oracle(c, result.out), rem_to_oracle(c, result.rem), to_oracle(c, grad[0]),
          to_oracle(c, grad[1]),    to_oracle(c, grad[2]),        grad[3].to(torch::kCPU, torch::kFloat64)};
}

CaseResults results_of_oracle(const Case& c, const CaseTensors& t, bool running) {
  const OracleInputs inputs{to_oracle(c, t.query),
                            to_oracle(c, t.key),
                            to_oracle(c, t.value),
                            t.decay.detach().to(torch::kCPU, torch::kFloat64),
                            c.borders,
                            c.options,
                            running};
  const OracleOutputs out = oracle_forward(inputs);
  const OracleGradients grad =
      oracle_backward(inputs, to_oracle(c, t.grad_out), rem_to_oracle(c, t.grad_rem));
  return {out.out, out.rem, grad.query, grad.key, grad.value, grad.decay};
}

RelativeErrors errors_between(const CaseResults& results, const CaseResults& expected) {
  return {relative_error(results.out, expected.out),     relative_error(results.rem, expected.rem),
          relative_error(results.query, expected.query), relative_error(results.key, expected.key),
          relative_error(results.value, expected.value), relative_error(results.decay, expected.decay)};
}

RelativeErrors compare_with_oracle(const Case& c, const Target& target) {
  const CaseTensors t = make_tensors(c, target.device);
  return errors_between(results_of(c, t, target), results_of_oracle(c, t));
}

RelativeErrors bounds_of(torch::ScalarType dtype) {
  // rem is float32 whatever the dtype of the inputs is, but it comes from the same logits as out.
  switch (dtype) {
    case torch::kFloat64:
      return {1e-10, 1e-10, 1e-10, 1e-10, 1e-10, 1e-10};
    case torch::kFloat32:
      return {1e-5, 1e-5, 1e-5, 1e-5, 1e-5, 1e-4};
    case torch::kBFloat16:
      return {4e-3, 4e-3, 6e-3, 6e-3, 6e-3, 1e-2};
    case torch::kFloat16:
      return {1e-3, 1e-3, 2e-3, 2e-3, 2e-3, 5e-3};
    default:
      throw std::logic_error("no bound for this dtype");
  }
}

void expect_within(const RelativeErrors& errors, const RelativeErrors& bounds) {
  EXPECT_LE(errors.out, bounds.out);
  EXPECT_LE(errors.rem, bounds.rem);
  EXPECT_LE(errors.query, bounds.query);
  EXPECT_LE(errors.key, bounds.key);
  EXPECT_LE(errors.value, bounds.value);
  EXPECT_LE(errors.decay, bounds.decay);
}

RelativeErrors expect_matches_oracle(const Case& c, const Target& target) {
  SCOPED_TRACE(describe(c));
  const RelativeErrors errors = compare_with_oracle(c, target);
  expect_within(errors, bounds_of(c.dtype));
  return errors;
}

std::vector<AttentionOptions> all_modes(int64_t window) {
  std::vector<AttentionOptions> modes;
  for (int bits = 0; bits < 64; ++bits) {
    AttentionOptions options;
    options.causal = bits & 1;
    options.mass = bits & 2 ? Mass::kShared : Mass::kPerSide;
    options.self_key = !(bits & 4);
    options.remainder = bits & 8 ? Remainder::kSelf : Remainder::kDrop;
    options.window = bits & 16 ? window : 0;
    options.rotary_base = bits & 32 ? 0 : 10000.0;
    modes.push_back(options);
  }
  return modes;
}

std::string describe(const Case& c) {
  const AttentionOptions& o = c.options;
  return fmt::format(
      "{} batch={} borders={} heads={} head_dim={} dtype={} layout={} causal={} window={} mass={} "
      "self_key={} "
      "remainder={} rotary_base={} decay={}..{} query_scale={} seed={}",
      c.packed ? "packed" : "batched", c.batch, fmt::join(c.borders, ","), c.heads, c.head_dim,
      torch::toString(c.dtype), static_cast<int>(c.layout), o.causal, o.window, to_string(o.mass), o.self_key,
      to_string(o.remainder), o.rotary_base, c.decay_from, c.decay_to, c.query_scale, c.seed);
}

}  // namespace rse
