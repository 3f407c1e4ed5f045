// What an evaluation will do: made of the flags and checked before anything is computed or written.
//
// Order of calls: EvalCommand (flags) -> make_eval_plan() -> LengthProtocol and load_encoder() with what it
// says.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/length_protocol.h"
#include "run/trained_run.h"

namespace rse {

// The flags of rse-eval. Lists are written with commas.
struct EvalCommand {
  std::vector<std::string> combine;  // folders of evaluations; then neither run nor data
  std::string run;                   // run folder
  std::optional<int64_t> step;       // of the checkpoint; absent: the newest complete one
  std::string data;                  // token file
  // Absent: 1, 2, 4, 8 times the trained length, as far as the texts reach.
  std::optional<std::string> lengths;
  std::optional<std::string> arms;   // absent: all
  std::optional<std::string> seeds;  // absent: all
  bool control = true;               // measure attention within half the trained length, too
  std::string beyond;                // clamp, tile, interpolate; empty: as the arms' configuration says
  std::optional<int64_t> max_targets, pieces, first_pieces;
  std::optional<int64_t> mask_seed;  // absent: the run's validation.seed
  // Probability that a token becomes a target; absent: the run's (RunSettings::validation_mask()).
  std::optional<double> mask_rate;
  int64_t batch_tokens = 16384;
  std::string device = "auto";     // auto, cpu, cuda
  std::string precision = "auto";  // auto: the run's; float32, bf16
  int64_t threads = 0;             // 0: as LibTorch chooses
  std::string output;              // folder to make; empty: RUN/evaluation-N, the first free N
  bool save_targets = false;
  bool report = true;
  std::string program = "rse-eval";  // name and version, for evaluation.json
};

// One (arm, seed) to evaluate.
struct PlannedReplica {
  size_t arm = 0;  // index into EvalPlan::arms
  uint64_t seed = 0;
};

struct EvalPlan {
  ProtocolConfig protocol;
  std::vector<ArmConfig> arms;           // in the run's order, `beyond` and the vocabulary set
  std::vector<PlannedReplica> replicas;  // by arm, then seed, in the run's order
  std::string beyond;  // what learned tables do beyond their rows, in words; empty: no table is too short
  TrainConfig train;   // the run's, with the device, precision and threads of this evaluation
  std::string piece_selection;  // in words
};

// file: its tokenizer is the run's. UserError naming the flag, its value and what was expected.
EvalPlan make_eval_plan(const EvalCommand& command, const TrainedRun& run, const TokenFile& file);

}  // namespace rse
