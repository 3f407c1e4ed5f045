#include "bench/attention.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <nlohmann/json.hpp>

#include "bench/cases.h"
#include "bench/measure.h"
#include "bench/trained.h"
#include "core/check.h"
#include "core/file.h"
#include "core/logging.h"
#include "core/output_path.h"
#include "core/threads.h"
#include "ops/attention_problem.h"

namespace rse {
namespace {

enum Phase { kForward, kBackward, kBoth, kPhases };
constexpr const char* kPhaseNames[kPhases] = {"forward", "backward", "fwd+bwd"};
constexpr double kPhaseWork[kPhases] = {1.0, 2.5, 3.5};  // counted in forward passes

struct Measured {
  std::vector<double> ms[kPhases];
  double bytes[kPhases] = {-1, -1, -1};  // of backward alone it is not measured
  double error = 0;                      // as a multiple of its bound; 0 for SDPA
  double visited = 1;                    // share of the mask's pairs that were computed
  std::string missing;                   // why the case cannot run here; empty: it can
  bool runs() const { return missing.empty() && error <= 1.0; }
};

double visited_share(const BenchInputs& inputs, const AttentionOptions& options) {
  return visited_share(inputs.query, inputs.key, inputs.value, inputs.decay, std::nullopt, 0, options);
}

std::vector<Measured> measure(const AttentionBenchOptions& options, const std::vector<BenchCase>& cases,
                              const BenchInputs& inputs, const BenchBounds& bounds,
                              const torch::Device& device) {
  std::vector<Measured> all(cases.size());
  const auto run_forward = [&](const BenchCase& one) {
    const torch::NoGradGuard no_grad;
    forward(one, inputs, options.causal);
  };
  const auto run_both = [&](const BenchCase& one) {
    gradients(one, inputs, forward(one, inputs, options.causal));
  };
  for (size_t n = 0; n < cases.size(); ++n) {  // this warms up, too
    all[n].missing = why_not_here(cases[n], inputs, options.causal);
    if (cases[n].rse) all[n].error = worst_error(cases[n], inputs, bounds);
    if (!all[n].runs()) continue;
    if (cases[n].rse) all[n].visited = visited_share(inputs, *cases[n].rse);
    run_both(cases[n]);
    all[n].bytes[kForward] = peak_bytes(device, [&] { run_forward(cases[n]); });
    all[n].bytes[kBoth] = peak_bytes(device, [&] { run_both(cases[n]); });
  }
  CallTimer timer(device);
  for (int64_t round = 0; round < options.repeats; ++round) {
    for (size_t turn = 0; turn < cases.size(); ++turn) {
      const size_t n = (turn + static_cast<size_t>(round)) % cases.size();
      if (!all[n].runs()) continue;
      torch::Tensor out;
      const double alone = timer.run({[&] { run_forward(cases[n]); }})[0];
      const auto both = timer.run({[&] { out = forward(cases[n], inputs, options.causal); },
                                   [&] { gradients(cases[n], inputs, out); }});
      all[n].ms[kForward].push_back(alone);
      all[n].ms[kBackward].push_back(both[1]);
      all[n].ms[kBoth].push_back(both[0] + both[1]);
    }
  }
  return all;
}

// SDPA's time divided by this case's, round by round: above 1 this case is faster.
Spread speed_ratio(const std::vector<double>& sdpa, const std::vector<double>& mine) {
  std::vector<double> ratios(sdpa.size());
  for (size_t n = 0; n < sdpa.size(); ++n) ratios[n] = sdpa[n] / mine[n];
  return spread_of(ratios);
}

nlohmann::json to_json(const Spread& spread) {
  return {{"median", spread.median}, {"low", spread.low}, {"high", spread.high}};
}

// FLOPs of one forward pass that computes every pair of the mask.
double dense_flops(const AttentionBenchOptions& options, int64_t seq) {
  return 4.0 * static_cast<double>(seq) * static_cast<double>(seq) *
         static_cast<double>(options.batch * options.heads * options.head_dim) * (options.causal ? 0.5 : 1.0);
}

// Prints a case's lines and returns its row of the results. sdpa: what the ratios refer to, or null.
nlohmann::json report_case(const AttentionBenchOptions& options, int64_t seq, const BenchCase& one,
                           const Measured& mine, const Measured* sdpa) {
  nlohmann::json row = {{"seq_len", seq}, {"case", one.name}, {"error_over_bound", mine.error}};
  if (one.rse) row["visited_share"] = mine.visited;
  if (!mine.missing.empty()) {
    fmt::print("{:>6}  {:<13} not here: {}\n", seq, one.name, mine.missing);
    row["missing"] = mine.missing;
    return row;
  }
  if (!(mine.error <= 1.0)) {
    fmt::print("{:>6}  {:<13} no speed: the error is {:.3g} times its bound\n", seq, one.name, mine.error);
    return row;
  }
  for (int phase = 0; phase < kPhases; ++phase) {
    const Spread time = spread_of(mine.ms[phase]);
    const double tflops = kPhaseWork[phase] * dense_flops(options, seq) / (time.median * 1e9);
    nlohmann::json& entry = row[kPhaseNames[phase]];
    entry = {{"ms", to_json(time)}, {"dense_tflops", tflops}};
    std::string ratio_text = "-";
    if (sdpa != nullptr) {
      const Spread ratio = speed_ratio(sdpa->ms[phase], mine.ms[phase]);
      ratio_text = fmt::format("{:.2f} [{:.2f}, {:.2f}]", ratio.median, ratio.low, ratio.high);
      entry["sdpa_time_ratio"] = to_json(ratio);
    }
    const double bytes = mine.bytes[phase];
    if (bytes >= 0) entry["peak_bytes"] = bytes;
    fmt::print("{:>6}  {:<13} {:<8} {:>9.3f} {:<20} {:>8.2f}   {:<18} {:>10}  {}\n", seq, one.name,
               kPhaseNames[phase], time.median, fmt::format("[{:.3f}, {:.3f}]", time.low, time.high), tflops,
               ratio_text, bytes < 0 ? "-" : format_bytes(bytes),
               one.rse ? fmt::format("{:<13.3f}  {:.1f} %", mine.error, 100 * mine.visited) : "-");
  }
  return row;
}

torch::Device check_options(const AttentionBenchOptions& options) {
  if (options.device != "cpu" && options.device != "cuda") {
    throw_user_error("--device: '{}': expected cpu or cuda", options.device);
  }
  if (options.device == "cuda" && !torch::cuda::is_available()) {
    throw_user_error("--device: 'cuda': LibTorch sees no CUDA device here; expected cpu");
  }
  if (!options.json.empty() && !options.run.empty())
    expect_not_read({options.json}, {options.run, options.data});
  const std::pair<const char*, int64_t> counts[] = {
      {"--batch", options.batch}, {"--heads", options.heads}, {"--repeats", options.repeats}};
  for (const auto& [name, count] : counts) {
    if (count < 1) throw_user_error("{}: '{}': expected at least 1", name, count);
  }
  parse_backend(options.backend);
  for (const int64_t seq : options.seq_lens) {
    if (seq < 1) throw_user_error("--seq-lens: '{}': expected at least 1", seq);
  }
  const auto& decay = options.decay;
  const bool zero = decay.size() == 1 && decay.front() == 0;
  if (decay.empty() || decay.size() > 2 || (!zero && !(decay.front() > 0 && decay.back() > 0))) {
    throw_user_error("--decay: '{}': expected one or two positive numbers, or 0", fmt::join(decay, ","));
  }
  if (options.run.empty() != options.data.empty()) throw_user_error("--run and --data go together");
  if (!(options.rotary_base >= 0)) {
    throw_user_error("--rotary-base: '{}': expected 0 or a positive number", options.rotary_base);
  }
  return torch::Device(options.device);
}

std::string list_of(const torch::Tensor& decay) {
  std::string text;
  const torch::Tensor host = decay.detach().to(torch::kCPU, torch::kFloat64);
  for (int64_t head = 0; head < host.numel(); ++head)
    text += fmt::format("{}{:.3g}", head > 0 ? ", " : "", host[head].item<double>());
  return text;
}

// What the cases are measured on: random numbers (no name), or one layer of a trained model.
struct BenchProblem {
  std::string name;
  BenchInputs inputs;
};

std::vector<BenchProblem> make_problems(AttentionBenchOptions& options, int64_t seq, torch::ScalarType type,
                                        const torch::Device& device) {
  if (options.run.empty()) return {{"", make_inputs(options, seq, type, device)}};
  std::vector<BenchProblem> problems;
  for (BenchInputs& inputs : trained_inputs(options, seq, type, device))
    problems.push_back({fmt::format("layer {}", problems.size()), std::move(inputs)});
  return problems;
}

void print_header(const AttentionBenchOptions& options, const std::string& backend) {
  const std::string inputs = options.run.empty()
                                 ? fmt::format("{} heads of {}, lambda {} to {} over heads", options.heads,
                                               options.head_dim, options.decay.front(), options.decay.back())
                                 : fmt::format("the layers of {} on {}", options.run, options.data);
  fmt::print("batch {}, {}, {}, {}{}{}, {} threads, {} rounds\n", options.batch, inputs, options.dtype,
             options.causal ? "causal" : "bidirectional", options.self_key ? "" : ", without own key",
             options.rotary_base > 0 ? "" : ", without rotation", at::get_num_threads(), options.repeats);
  fmt::print("rse: {}; skipping: skip_below {}\n", backend, AttentionOptions().skip_below);
  fmt::print("{:>6}  {:<13} {:<8} {:>9} {:<20} {:>8}   {:<18} {:>10}  {}  {}\n", "seq", "case", "phase",
             "ms median", "95 % interval", "TFLOP/s", "sdpa time / this", "peak", "error / bound", "visited");
}

void print_footer(const AttentionBenchOptions& options) {
  fmt::print(
      "TFLOP/s by the dense count, 4 N^2 D per head and forward pass (causal: half of it), backward 2.5 "
      "times that, "
      "so skipping may pass what the device can do. The ratio is to the first sdpa that runs here. Visited "
      "is "
      "the share of pairs that was computed.\n");
  if (options.run.empty()) {
    fmt::print(
        "Inputs are random normal numbers: they use up sticks within about 200 keys, so 'rse skipping' is "
        "faster here than on a trained model (--run, --data).\n");
  }
}

}  // namespace

bool run_attention_bench(AttentionBenchOptions options) {
  const torch::Device device = check_options(options);
  const BenchPrecision precision = parse_precision(options.dtype);
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  require_threads(at::get_num_threads() + 1, "for LibTorch (--threads)");
  const std::vector<BenchCase> cases = make_cases(options, device, precision.type);
  const std::string backend = describe_backend(parse_backend(options.backend), device);
  print_header(options, backend);
  bool within_bounds = true;
  nlohmann::json rows = nlohmann::json::array();
  for (const int64_t seq : options.seq_lens) {
    for (const BenchProblem& problem : make_problems(options, seq, precision.type, device)) {
      if (!problem.name.empty()) fmt::print("{}, lambda {}\n", problem.name, list_of(problem.inputs.decay));
      const auto measured = measure(options, cases, problem.inputs, precision.bounds, device);
      const Measured* sdpa = nullptr;
      for (size_t n = 0; n < cases.size() && sdpa == nullptr; ++n) {
        if (!cases[n].rse && measured[n].runs()) sdpa = &measured[n];
      }
      for (size_t n = 0; n < cases.size(); ++n) {
        rows.push_back(report_case(options, seq, cases[n], measured[n], sdpa));
        if (!problem.name.empty()) rows.back()["inputs"] = problem.name;
        within_bounds = within_bounds && measured[n].error <= 1.0;
      }
    }
  }
  print_footer(options);
  if (!options.json.empty()) {
    nlohmann::json report = {{"batch", options.batch},
                             {"heads", options.heads},
                             {"head_dim", options.head_dim},
                             {"dtype", options.dtype},
                             {"device", options.device},
                             {"threads", at::get_num_threads()},
                             {"causal", options.causal},
                             {"self_key", options.self_key},
                             {"rotary_base", options.rotary_base},
                             {"rounds", options.repeats},
                             {"seed", options.seed},
                             {"backend", backend},
                             {"rows", rows}};
    if (options.run.empty()) {
      report["decay"] = options.decay;
    } else {
      report["run"] = options.run;
      report["data"] = options.data;
    }
    write_file_atomically(options.json, report.dump(2) + "\n");
  }
  return within_bounds;
}

std::string list_attention_backends() {
  std::string text =
      fmt::format("cpu: auto = {}; reference = {}\n", describe_backend(Backend::kAuto, torch::kCPU),
                  describe_backend(Backend::kReference, torch::kCPU));
  const torch::Device cuda(torch::kCUDA);  // the current one
  if (torch::cuda::is_available()) {
    text += fmt::format("cuda: auto = {}; reference = {}\n", describe_backend(Backend::kAuto, cuda),
                        describe_backend(Backend::kReference, cuda));
  } else {
    text += "cuda: no device\n";
  }
  for (const Backend backend : {Backend::kPortable, Backend::kHopper}) {
    const char* why = ops::why_not_kernels(backend, cuda, torch::kBFloat16, /*head_dim=*/64);
    text += fmt::format("{} = {}: {}\n", to_string(backend), describe_backend(backend, cuda),
                        why == nullptr ? "runs here" : fmt::format("does not run here: {}", why));
  }
  return text;
}

}  // namespace rse
