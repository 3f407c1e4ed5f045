#include "apps/bench_attention.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/bench_measure.h"
#include "core/check.h"
#include "core/file.h"
#include "core/logging.h"
#include "ops/attention.h"

namespace rse {
namespace {

struct Inputs {
  torch::Tensor query, key, value, decay, out_grad;  // [batch, seq, heads, head_dim]; decay [heads]
};

// Bounds of spec section 4.
struct Bounds {
  double out, qkv_grad, decay_grad;
};

struct Precision {
  torch::ScalarType type;
  Bounds bounds;
};

Precision parse_precision(const std::string& name) {
  static const std::map<std::string, Precision> known = {{"float32", {torch::kFloat32, {1e-5, 1e-5, 1e-4}}},
                                                         {"bfloat16", {torch::kBFloat16, {4e-3, 6e-3, 1e-2}}},
                                                         {"float16", {torch::kFloat16, {1e-3, 2e-3, 5e-3}}}};
  const auto found = known.find(name);
  if (found == known.end()) throw_user_error("--dtype: '{}': expected float32, bfloat16 or float16", name);
  return found->second;
}

Inputs make_inputs(const AttentionBenchOptions& options, int64_t seq, torch::ScalarType type,
                   const torch::Device& device) {
  torch::manual_seed(options.seed);
  const auto random = [&] {
    return torch::randn({options.batch, seq, options.heads, options.head_dim}).to(type).to(device);
  };
  Inputs inputs{random(), random(), random(), {}, random()};
  const torch::Tensor log_decay = torch::linspace(
      std::log(options.decay.front()), std::log(options.decay.back()), options.heads, torch::kFloat64);
  inputs.decay = log_decay.exp().to(torch::kFloat32).to(device);
  for (torch::Tensor* tensor : {&inputs.query, &inputs.key, &inputs.value, &inputs.decay}) {
    tensor->requires_grad_(true);
  }
  return inputs;
}

// One of the things compared.
struct Case {
  std::string name;
  std::optional<AttentionOptions> rse;  // none: SDPA
};

std::vector<Case> make_cases(const AttentionBenchOptions& options) {
  AttentionOptions dense, skipping;
  dense.causal = skipping.causal = options.causal;
  dense.skip_below = 0;
  return {{"sdpa", std::nullopt}, {"rse dense", dense}, {"rse skipping", skipping}};
}

torch::Tensor forward(const Case& one, const Inputs& inputs, bool causal) {
  if (one.rse) {
    return attention(inputs.query, inputs.key, inputs.value, inputs.decay, std::nullopt, 0, *one.rse).out;
  }
  return at::scaled_dot_product_attention(inputs.query.transpose(1, 2), inputs.key.transpose(1, 2),
                                          inputs.value.transpose(1, 2), {}, 0.0, causal)
      .transpose(1, 2);
}

std::vector<torch::Tensor> gradients(const Case& one, const Inputs& inputs, const torch::Tensor& out) {
  std::vector<torch::Tensor> wanted = {inputs.query, inputs.key, inputs.value};
  if (one.rse) wanted.push_back(inputs.decay);
  return torch::autograd::grad({out}, wanted, {inputs.out_grad});
}

double relative_error(const torch::Tensor& value, const torch::Tensor& expected) {
  const double norm = expected.norm().item<double>();
  const double difference = (value.detach().to(torch::kFloat64) - expected).norm().item<double>();
  return norm > 0 ? difference / norm : difference;
}

// The worst of all errors as a multiple of its bound, over the first and the middle head of batch row 0.
double worst_error(const Case& one, const Inputs& inputs, const Bounds& bounds) {
  const int64_t heads = inputs.query.size(2);
  double worst = 0;
  for (const int64_t head : {int64_t{0}, heads / 2}) {
    const auto slice = [&](const torch::Tensor& tensor) {
      return tensor.detach().narrow(0, 0, 1).narrow(2, head, 1);
    };
    Inputs low{slice(inputs.query), slice(inputs.key), slice(inputs.value),
               inputs.decay.detach().narrow(0, head, 1), slice(inputs.out_grad)};
    Inputs high = low;
    for (torch::Tensor Inputs::*member :
         {&Inputs::query, &Inputs::key, &Inputs::value, &Inputs::decay, &Inputs::out_grad}) {
      low.*member = (low.*member).clone().requires_grad_(true);
      high.*member = (high.*member).to(torch::kFloat64).clone().requires_grad_(true);
    }
    Case reference = one;
    reference.rse->backend = Backend::kReference;
    reference.rse->skip_below = 0;
    const torch::Tensor out = forward(one, low, false), expected = forward(reference, high, false);
    const auto grads = gradients(one, low, out), expected_grads = gradients(reference, high, expected);
    // std::max would lose a NaN, and with it the refusal to print.
    const auto note = [&](double share) {
      worst = std::isfinite(share) ? std::max(worst, share) : std::numeric_limits<double>::infinity();
    };
    note(relative_error(out, expected.detach()) / bounds.out);
    for (size_t n = 0; n < grads.size(); ++n) {
      const double error = relative_error(grads[n], expected_grads[n]);
      note(error / (n == 3 ? bounds.decay_grad : bounds.qkv_grad));
    }
  }
  return worst;
}

struct Measured {
  std::vector<double> forward_ms, both_ms;
  double forward_bytes = 0, both_bytes = 0;
  double error = 0;  // multiple of the bound; SDPA: 0
};

std::vector<Measured> measure(const AttentionBenchOptions& options, const std::vector<Case>& cases,
                              const Inputs& inputs, const Bounds& bounds, const torch::Device& device) {
  std::vector<Measured> all(cases.size());
  const auto run_forward = [&](const Case& one) {
    const torch::NoGradGuard no_grad;
    forward(one, inputs, options.causal);
  };
  const auto run_both = [&](const Case& one) {
    gradients(one, inputs, forward(one, inputs, options.causal));
  };
  for (size_t n = 0; n < cases.size(); ++n) {  // warms up, too
    if (cases[n].rse) all[n].error = worst_error(cases[n], inputs, bounds);
    run_both(cases[n]);
    all[n].forward_bytes = peak_bytes(device, [&] { run_forward(cases[n]); });
    all[n].both_bytes = peak_bytes(device, [&] { run_both(cases[n]); });
  }
  for (int64_t round = 0; round < options.repeats; ++round) {
    for (size_t turn = 0; turn < cases.size(); ++turn) {
      const size_t n = (turn + static_cast<size_t>(round)) % cases.size();
      all[n].forward_ms.push_back(time_ms(device, [&] { run_forward(cases[n]); }));
      all[n].both_ms.push_back(time_ms(device, [&] { run_both(cases[n]); }));
    }
  }
  return all;
}

// SDPA's time over this case's, round by round: above 1 this case is faster.
Spread speed_ratio(const std::vector<double>& sdpa, const std::vector<double>& mine) {
  std::vector<double> ratios(sdpa.size());
  for (size_t n = 0; n < sdpa.size(); ++n) ratios[n] = sdpa[n] / mine[n];
  return spread_of(ratios);
}

nlohmann::json to_json(const Spread& spread) {
  return {{"median", spread.median}, {"p10", spread.p10}, {"p90", spread.p90}};
}

nlohmann::json report_case(int64_t seq, const Case& one, const Measured& mine, const Measured& sdpa) {
  nlohmann::json row = {{"seq_len", seq}, {"case", one.name}, {"error_over_bound", mine.error}};
  if (!(mine.error <= 1.0)) {
    fmt::print("{:>6}  {:<13} no speed: the error is {:.3g} times its bound\n", seq, one.name, mine.error);
    return row;
  }
  const auto report_phase = [&](const char* phase, const std::vector<double>& ms,
                                const std::vector<double>& sdpa_ms, double bytes) {
    const Spread time = spread_of(ms), ratio = speed_ratio(sdpa_ms, ms);
    fmt::print("{:>6}  {:<13} {:<8} {:>9.2f} {:>9.2f} {:>9.2f}   {:>5.2f} [{:.2f}, {:.2f}]  {:>10}  {}\n",
               seq, one.name, phase, time.median, time.p10, time.p90, ratio.median, ratio.p10, ratio.p90,
               bytes < 0 ? "?" : format_bytes(bytes), one.rse ? fmt::format("{:.3f}", mine.error) : "-");
    row[phase] = {{"ms", to_json(time)}, {"sdpa_time_ratio", to_json(ratio)}, {"peak_bytes", bytes}};
  };
  report_phase("forward", mine.forward_ms, sdpa.forward_ms, mine.forward_bytes);
  report_phase("fwd+bwd", mine.both_ms, sdpa.both_ms, mine.both_bytes);
  return row;
}

torch::Device check_options(const AttentionBenchOptions& options) {
  if (options.device != "cpu" && options.device != "cuda") {
    throw_user_error("--device: '{}': expected cpu or cuda", options.device);
  }
  if (options.device == "cuda" && !torch::cuda::is_available()) {
    throw_user_error("--device: 'cuda': LibTorch sees no CUDA device here; expected cpu");
  }
  const std::pair<const char*, int64_t> counts[] = {
      {"--batch", options.batch}, {"--heads", options.heads}, {"--repeats", options.repeats}};
  for (const auto& [name, count] : counts) {
    if (count < 1) throw_user_error("{}: '{}': expected at least 1", name, count);
  }
  for (const int64_t seq : options.seq_lens) {
    if (seq < 1) throw_user_error("--seq-lens: '{}': expected at least 1", seq);
  }
  if (options.decay.empty() || options.decay.size() > 2 || options.decay.front() <= 0 ||
      options.decay.back() <= 0) {
    throw_user_error("--decay: expected one or two positive numbers, got {}", options.decay.size());
  }
  return torch::Device(options.device);
}

}  // namespace

bool run_attention_bench(const AttentionBenchOptions& options) {
  const torch::Device device = check_options(options);
  const Precision precision = parse_precision(options.dtype);
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  const std::vector<Case> cases = make_cases(options);
  fmt::print("batch {}, {} heads of {}, {}, {}, {} threads, lambda {} to {} over heads, {} rounds\n",
             options.batch, options.heads, options.head_dim, options.dtype,
             options.causal ? "causal" : "bidirectional", at::get_num_threads(), options.decay.front(),
             options.decay.back(), options.repeats);
  fmt::print("rse: {}; skipping: skip_below {}\n", describe_backend(Backend::kAuto, device),
             AttentionOptions().skip_below);
  fmt::print("{:>6}  {:<13} {:<8} {:>9} {:>9} {:>9}   {:<18} {:>10}  {}\n", "seq", "case", "phase",
             "ms median", "p10", "p90", "sdpa time / this", "peak", "error / bound");
  bool within_bounds = true;
  nlohmann::json rows = nlohmann::json::array();
  for (const int64_t seq : options.seq_lens) {
    const Inputs inputs = make_inputs(options, seq, precision.type, device);
    const std::vector<Measured> measured = measure(options, cases, inputs, precision.bounds, device);
    for (size_t n = 0; n < cases.size(); ++n) {
      rows.push_back(report_case(seq, cases[n], measured[n], measured[0]));
      within_bounds = within_bounds && measured[n].error <= 1.0;
    }
  }
  fmt::print(
      "Inputs are random normal numbers: they use up sticks within about 200 keys, so 'rse skipping' is "
      "faster "
      "here than on a trained model.\n");
  if (!options.json.empty()) {
    const nlohmann::json report = {{"batch", options.batch},
                                   {"heads", options.heads},
                                   {"head_dim", options.head_dim},
                                   {"dtype", options.dtype},
                                   {"device", options.device},
                                   {"threads", at::get_num_threads()},
                                   {"causal", options.causal},
                                   {"decay", options.decay},
                                   {"rounds", options.repeats},
                                   {"seed", options.seed},
                                   {"backend", describe_backend(Backend::kAuto, device)},
                                   {"rows", rows}};
    write_file_atomically(options.json, report.dump(2) + "\n");
  }
  return within_bounds;
}

std::string list_attention_backends() {
  std::string text;
  for (const char* name : {"cpu", "cuda"}) {
    if (name == std::string("cuda") && !torch::cuda::is_available()) {
      text += "cuda: no device\n";
      continue;
    }
    const torch::Device device(name);
    text += fmt::format("{}: auto = {}; reference = {}\n", name, describe_backend(Backend::kAuto, device),
                        describe_backend(Backend::kReference, device));
  }
  return text;
}

}  // namespace rse
