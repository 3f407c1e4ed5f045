// rse-bench measures speed, spread and memory of the attention operator beside LibTorch's own
// (bench/attention.h).
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "apps/parse_flags.h"
#include "bench/attention.h"
#include "core/check.h"
#include "core/logging.h"

namespace {

using namespace rse;

void add_attention_options(CLI::App& command, AttentionBenchOptions& options) {
  command.option_defaults()->always_capture_default();
  const Range<int64_t> many = between<int64_t>(1, int64_t{1} << 24);
  add_numbers(command, "--seq-lens", options.seq_lens, many, "sequence lengths ");
  add_number(command, "--batch", options.batch, many, "sequences");
  add_number(command, "--heads", options.heads, many, "heads");
  add_number(command, "--head-dim", options.head_dim, between<int64_t>(8, 128),
             "a multiple of 8 from 8 to 128");
  add_number(command, "--repeats", options.repeats, many, "rounds; each round times every case once");
  add_number(command, "--threads", options.threads, between<int64_t>(0, 1024), "0: as LibTorch chooses");
  add_text(command, "--device", options.device, "cpu or cuda");
  add_text(command, "--dtype", options.dtype, "float32, bfloat16 or float16");
  add_text(command, "--backend", options.backend, "backend of rse: auto, reference, portable or hopper");
  command.add_flag("--causal", options.causal, "only keys that are not after the query take part");
  command.add_flag("--self-key,!--no-self-key", options.self_key, "in rse the query's own key takes part");
  add_number(command, "--rotary-base", options.rotary_base, between(0.0, 1e12),
             "base of rse's rotation; 0: no rotation");
  add_numbers(command, "--decay", options.decay, between(0.0, 100.0),
              "lambda of the first and the last head, geometric between them");
  CLI::Option* run =
      add_path(command, "--run", options.run, "run folder: measure on the inputs of its RSE arm's layers");
  add_path(command, "--data", options.data, "token file that the run's model reads")->needs(run);
  add_number(command, "--seed", options.seed, at_least<int64_t>(0), "seed of the inputs");
  add_path(command, "--json", options.json, "file for the results");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures the attention operator.", "rse-bench");
  rse::AttentionBenchOptions options;
  bool list = false;
  const std::string version = "rse-bench " RSE_VERSION;
  app.set_version_flag("--version", version);
  app.add_flag("--list", list, "print the backends available here, and exit");
  CLI::App* attention =
      app.add_subcommand("attention", "RSE against scaled_dot_product_attention, interleaved");
  attention->set_version_flag("--version", version);
  add_attention_options(*attention, options);
  return rse::run_program("rse-bench", [&] {
    if (!rse::parse_flags(app, argc, argv)) return rse::kExitOk;
    if (!list && !attention->parsed()) rse::throw_user_error("expected a command: attention, or --list");
    rse::init_logging("warn");
    if (list) {
      fmt::print("{}", rse::list_attention_backends());
      return rse::kExitOk;
    }
    return rse::run_attention_bench(options) ? rse::kExitOk : rse::kExitFailure;
  });
}
