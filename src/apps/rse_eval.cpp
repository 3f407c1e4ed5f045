// rse-eval measures how trained arms do at lengths beyond the trained one (eval/command.h).
#include <CLI/CLI.hpp>

#include "apps/parse_flags.h"
#include "core/check.h"
#include "core/logging.h"
#include "eval/command.h"

namespace {

using namespace rse;

void add_options(CLI::App& app, EvalCommand& command) {
  add_path(app, "--run", command.run, "run folder of rse-train");
  add_path(app, "--data", command.data, "token file of held-out text, same tokenizer as the run's");
  add_text(app, "--lengths", command.lengths,
           "window lengths, such as 512,1024,2048; each divides the longest "
           "(default: 1, 2, 4, 8 times the trained length, as far as the texts reach)");
  add_number(app, "--step", command.step, at_least<int64_t>(0),
             "checkpoint (default: the newest complete one)");
  add_text(app, "--arms", command.arms, "arms, such as rope,rse (default: all)");
  add_text(app, "--seeds", command.seeds, "seeds, such as 1,2 (default: all)");
  app.add_flag("!--no-control", command.control, "leave out attention within half the trained length");
  add_text(app, "--beyond", command.beyond,
           "what a learned table does beyond its rows: clamp, tile or interpolate");
  add_number(app, "--max-targets", command.max_targets, at_least<int64_t>(1),
             "quick look: exactly this many targets, on few pieces");
  add_number(app, "--pieces", command.pieces, at_least<int64_t>(1),
             "at most so many pieces of the longest length, spread over the texts");
  add_number(app, "--first-pieces", command.first_pieces, at_least<int64_t>(1),
             "the first pieces of the file instead");
  add_number(app, "--mask-seed", command.mask_seed, at_least<int64_t>(0),
             "seed of the targets (default: the run's validation.seed)");
  add_number(app, "--mask-rate", command.mask_rate, Range<double>{0.0, 1.0, true, false},
             "share of tokens that are targets (default: the run's validation.mask_rate)");
  add_number(app, "--batch-tokens", command.batch_tokens, between<int64_t>(1, int64_t{1} << 30),
             "tokens per forward pass; changes memory and speed, not results");
  add_text(app, "--device", command.device, "auto, cpu or cuda");
  add_text(app, "--precision", command.precision, "auto (the run's), float32 or bf16");
  add_number(app, "--threads", command.threads, between<int64_t>(0, 1024), "0: as LibTorch chooses");
  add_path(app, "--output", command.output, "folder to make (default: RUN/evaluation-N)");
  app.add_flag("--save-targets", command.save_targets, "write every loss to targets.safetensors, too");
  add_path_list(app, "--combine", command.combine,
                "instead of --run: folders made with --save-targets, other seeds of the same arms, as one");
  app.add_flag("!--no-report", command.report, "do not draw report.html");
}

int run(int argc, char** argv) {
  CLI::App app("Evaluates the arms of a run at several lengths, on the same masked tokens at each.",
               "rse-eval");
  EvalCommand command;
  command.program = "rse-eval " RSE_VERSION;
  std::string log_level = "info";
  add_options(app, command);
  add_text(app, "--log-level", log_level, "trace, debug, info, warn or error");
  app.set_version_flag("--version", command.program);
  if (!parse_flags(app, argc, argv)) return kExitOk;
  init_logging(log_level);
  return run_eval_command(command);
}

}  // namespace

int main(int argc, char** argv) {
  return rse::run_program("rse-eval", [&] { return run(argc, argv); });
}
