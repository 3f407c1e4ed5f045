// rse-bench step: time, rate and memory of real training steps of a configuration, and what a step is made of.
//
// For each arm of the configuration one replica (train/replica.h, first seed) makes real updates on real
// batches. The arms take turns in the trainer's rotating order, so clock drift hits all of them alike. The
// batches come from data.train by the trainer's own path; where that file does not exist, or where
// `synthetic` asks for it, from random ids in sequences that are all full (bench/step_data.h), and the output
// says so. Nothing is written but `json`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rse {

struct StepBenchOptions {
  std::string config;                    // file, or the bare name of a shipped one
  std::vector<std::string> assignments;  // "a.b=c", applied to the base before arms are merged
  std::string device;                    // auto, cpu, cuda; empty: the configuration's
  int64_t steps = 30;                    // measured steps
  int64_t warmup = 5;                    // steps before them
  bool synthetic = false;                // random ids although there is a token file
  bool fixed_batch = false;              // one batch, built and copied once, for all steps
  bool alone = false;                    // measure each arm by itself, too
  bool profile = false;                  // show one step of each arm by kind of work
  uint64_t seed = 1;                     // of random ids
  std::string json;                      // file that the results are written to; empty: none
  std::string version;                   // of the program, for `json`
};

// Measures and prints. UserError names the flag or key that makes no sense.
void run_step_bench(const StepBenchOptions& options);

}  // namespace rse
