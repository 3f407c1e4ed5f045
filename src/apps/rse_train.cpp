// rse-train trains the arms of a configuration, interleaved (train/run.h).
#include <CLI/CLI.hpp>

#include "apps/parse_flags.h"
#include "core/check.h"
#include "core/logging.h"
#include "train/run.h"

int main(int argc, char** argv) {
  CLI::App app("Trains the arms (position methods) of one configuration, interleaved on the same batches.",
               "rse-train");
  rse::TrainCommand command;
  std::string log_level = "info";
  rse::add_path(app, "--config", command.config,
                "YAML file, or the bare name of a shipped one (bert_rse.yaml)");
  rse::add_text(app, "--set", command.assignments,
                "override a key of the base settings: train.steps=100 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  rse::add_path(app, "--output", command.output,
                "run folder (default: output: of the configuration, or runs/NAME)");
  const CLI::Option* resume =
      rse::add_path(app, "--resume", command.resume_from,
                    "go on with the run in PATH, a run folder or RUN/checkpoints/step-N "
                    "(then --config may be left out; default: the run folder); "
                    "with another --output it branches off. "
                    "auto: go on with the run folder where it holds a run, else start one")
          ->type_name("[PATH]")
          ->expected(0, 1);
  rse::add_text(app, "--device", command.device, "auto, cpu or cuda (default: train.device)");
  rse::add_text(app, "--log-level", log_level, "trace, debug, info, warn or error");
  app.add_flag("--dump-config", command.dump_config, "print the settings in effect as YAML, and exit");
  app.add_flag("--dry-run", command.dry_run,
               "show parameters, memory, FLOP and disk, try one batch, write nothing");
  app.set_version_flag("--version", "rse-train " RSE_VERSION);
  return rse::run_program("rse-train", [&] {
    if (!rse::parse_flags(app, argc, argv)) return rse::kExitOk;
    command.resume = resume->count() > 0;
    if (command.config.empty() && command.resume_from.empty()) {
      rse::throw_user_error("--config is required (see rse-train --help)");
    }
    rse::init_logging(log_level);
    return rse::run_train_command(command);
  });
}
