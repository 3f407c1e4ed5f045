// rse-bench measures speed, spread and memory of the attention operator beside LibTorch's own
// (bench/attention.h).
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "apps/parse_flags.h"
#include "bench/attention.h"
#include "core/check.h"
#include "core/logging.h"

namespace {

void add_attention_options(CLI::App* command, rse::AttentionBenchOptions& options) {
  command->option_defaults()->always_capture_default();
  command->add_option("--seq-lens", options.seq_lens, "sequence lengths")->delimiter(',');
  command->add_option("--batch", options.batch, "sequences");
  command->add_option("--heads", options.heads, "heads");
  command->add_option("--head-dim", options.head_dim, "a multiple of 8 from 8 to 128");
  command->add_option("--repeats", options.repeats, "rounds; each round times every case once");
  command->add_option("--threads", options.threads, "0: as LibTorch chooses");
  command->add_option("--device", options.device, "cpu or cuda");
  command->add_option("--dtype", options.dtype, "float32, bfloat16 or float16");
  command->add_option("--backend", options.backend, "backend of rse: auto, reference, portable or hopper");
  command->add_flag("--causal", options.causal, "only keys that are not after the query take part");
  command->add_flag("--self-key,!--no-self-key", options.self_key, "in rse the query's own key takes part");
  command->add_option("--rotary-base", options.rotary_base, "base of rse's rotation; 0: no rotation");
  command
      ->add_option("--decay", options.decay, "lambda of the first and the last head, geometric between them")
      ->delimiter(',')
      ->expected(1, 2);
  CLI::Option* run =
      command->add_option("--run", options.run, "run folder: measure on the inputs of its RSE arm's layers");
  command->add_option("--data", options.data, "token file that the run's model reads")->needs(run);
  command->add_option("--seed", options.seed, "seed of the inputs");
  command->add_option("--json", options.json, "file for the results");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures the attention operator.", "rse-bench");
  rse::AttentionBenchOptions options;
  bool list = false;
  app.set_version_flag("--version", "rse-bench " RSE_VERSION);
  app.add_flag("--list", list, "print the backends available here, and exit");
  CLI::App* attention =
      app.add_subcommand("attention", "RSE against scaled_dot_product_attention, interleaved");
  add_attention_options(attention, options);
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
