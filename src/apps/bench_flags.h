// The flags of rse-bench's commands.
#pragma once

#include <CLI/CLI.hpp>

#include "apps/parse_flags.h"
#include "bench/attention.h"
#include "bench/step.h"

namespace rse {

inline void add_attention_options(CLI::App& command, AttentionBenchOptions& options) {
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

inline void add_step_options(CLI::App& command, StepBenchOptions& options) {
  command.option_defaults()->always_capture_default();
  const Range<int64_t> some = between<int64_t>(1, int64_t{1} << 20);
  add_path(command, "--config", options.config, "configuration, or the bare name of a shipped one");
  add_text(command, "--set", options.assignments, "override a key of the base settings (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  add_text(command, "--device", options.device, "auto, cpu or cuda; empty: the configuration's");
  add_number(command, "--steps", options.steps, some, "measured steps; each arm makes one update in each");
  add_number(command, "--warmup", options.warmup, some, "steps before them");
  command.add_flag("--synthetic", options.synthetic, "random ids in full sequences in place of data.train");
  add_number(command, "--seed", options.seed, at_least<int64_t>(0), "seed of random ids");
  command.add_flag("--fixed-batch", options.fixed_batch, "one batch, built and copied once, for all steps");
  command.add_flag("--alone", options.alone, "measure each arm by itself, too");
  command.add_flag("--profile", options.profile, "show a step of each arm by kind of work");
  add_path(command, "--json", options.json, "file for the results");
}

}  // namespace rse
