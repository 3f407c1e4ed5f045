// rse-bench measures speed, spread and memory: of the attention operator beside LibTorch's own
// (bench/attention.h), and of the training steps of a configuration (bench/step.h).
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "apps/bench_flags.h"
#include "apps/parse_flags.h"
#include "bench/attention.h"
#include "bench/step.h"
#include "core/check.h"
#include "core/logging.h"

int main(int argc, char** argv) {
  CLI::App app("Measures the attention operator and training steps.", "rse-bench");
  rse::AttentionBenchOptions attention_options;
  rse::StepBenchOptions step_options;
  step_options.version = RSE_VERSION;
  bool list = false;
  const std::string version = "rse-bench " RSE_VERSION;
  app.set_version_flag("--version", version);
  app.add_flag("--list", list, "print the backends available here, and exit");
  CLI::App* attention =
      app.add_subcommand("attention", "RSE against scaled_dot_product_attention, interleaved");
  CLI::App* step = app.add_subcommand("step", "real training steps of a configuration");
  for (CLI::App* command : {attention, step}) command->set_version_flag("--version", version);
  rse::add_attention_options(*attention, attention_options);
  rse::add_step_options(*step, step_options);
  return rse::run_program("rse-bench", [&] {
    if (!rse::parse_flags(app, argc, argv)) return rse::kExitOk;
    const int commands = static_cast<int>(attention->parsed()) + static_cast<int>(step->parsed());
    if (!list && commands != 1) rse::throw_user_error("expected a command: attention, step, or --list");
    rse::init_logging("warn");
    if (list) {
      fmt::print("{}", rse::list_attention_backends());
      return rse::kExitOk;
    }
    if (step->parsed()) {
      rse::run_step_bench(step_options);
      return rse::kExitOk;
    }
    return rse::run_attention_bench(attention_options) ? rse::kExitOk : rse::kExitFailure;
  });
}
