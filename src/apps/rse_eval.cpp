// rse-eval measures how trained arms do at lengths beyond the trained one (eval/command.h).
#include <CLI/CLI.hpp>

#include "apps/parse_flags.h"
#include "core/check.h"
#include "core/logging.h"
#include "eval/command.h"

namespace {

using namespace rse;

void add_options(CLI::App& app, EvalCommand& command) {
  app.add_option("--run", command.run, "run folder of rse-train");
  app.add_option("--data", command.data, "token file of held-out text, same tokenizer as the run's");
  app.add_option("--lengths", command.lengths,
                 "window lengths, such as 512,1024,2048; each divides the longest "
                 "(default: 1, 2, 4, 8 times the trained length, as far as the texts reach)");
  app.add_option("--step", command.step, "checkpoint (default: the newest complete one)");
  app.add_option("--arms", command.arms, "arms, such as rope,rse (default: all)");
  app.add_option("--seeds", command.seeds, "seeds, such as 1,2 (default: all)");
  app.add_flag("!--no-control", command.control, "leave out attention within half the trained length");
  app.add_option("--beyond", command.beyond,
                 "what a learned table does beyond its rows: clamp, tile or interpolate");
  app.add_option("--max-targets", command.max_targets,
                 "quick look: exactly this many targets, on few pieces");
  app.add_option("--pieces", command.pieces,
                 "at most so many pieces of the longest length, spread over the texts");
  app.add_option("--first-pieces", command.first_pieces, "the first pieces of the file instead");
  app.add_option("--mask-seed", command.mask_seed,
                 "seed of the targets (default: the run's validation.seed)");
  app.add_option("--batch-tokens", command.batch_tokens,
                 "tokens per forward pass; changes memory and speed, not results");
  app.add_option("--device", command.device, "auto, cpu or cuda");
  app.add_option("--precision", command.precision, "auto (the run's), float32 or bf16");
  app.add_option("--threads", command.threads, "0: as LibTorch chooses");
  app.add_option("--output", command.output, "folder to make (default: RUN/evaluation-N)");
  app.add_flag("--save-targets", command.save_targets, "write every loss to targets.safetensors, too");
  app.add_option("--combine", command.combine,
                 "instead of --run: folders made with --save-targets, other seeds of the same arms, as one")
      ->delimiter(',');
  app.add_flag("!--no-report", command.report, "do not draw report.html");
}

int run(int argc, char** argv) {
  CLI::App app("Evaluates the arms of a run at several lengths, on the same masked tokens at each.",
               "rse-eval");
  EvalCommand command;
  command.program = "rse-eval " RSE_VERSION;
  std::string log_level = "info";
  add_options(app, command);
  app.add_option("--log-level", log_level, "trace, debug, info, warn or error");
  app.set_version_flag("--version", command.program);
  if (!parse_flags(app, argc, argv)) return kExitOk;
  init_logging(log_level);
  return run_eval_command(command);
}

}  // namespace

int main(int argc, char** argv) {
  return rse::run_program("rse-eval", [&] { return run(argc, argv); });
}
