// evaluation.json: everything that the report shows, in one file that needs nothing else. Written here, read
// by scripts/report.py and, to join evaluations, by evaluation_reader.h. No Torch.
//
// Keys, in this order:
//   format          1
//   protocol        run, step, data, data_fingerprint, trained_on, pieces, piece_selection, piece_tokens,
//                   targets, documents, unigram_entropy, trained_length, lengths,
//                   control_window (null: no control), beyond,
//                   masking {probability, mask_share, random_share, seed},
//                   device, precision, batch_tokens, program, bootstrap {resamples, seed, confidence},
//                   plateau_share, seeds_for_a_verdict, hold_margin
//   overlap         documents (evaluated ones), train and valid {same_content, same_file, documents (null: not
//                   counted)}, warnings [sentence], in_words; older files lack it
//   arms            [{arm, seeds, on_unigram_plateau, results}]
//   replicas        the same with one seed each
//     results       [{length, attention ("full" | "control"), attention_window (null: full), seconds, nll,
//                   difference, over_control, edges}]
//       nll, difference, over_control   {mean, low, high} or null; low and high are null without an interval
//       edges                           [{first, last, targets, nll}]
//   comparisons     [{first, second, length, seeds, by_seed, difference, p, p_holm, smallest_p_holm,
//                   detectable, verdict}]
//   headlines       {warnings [sentence], arms [{arm, text}], between_arms, scope}: texts of one or two
//                   sentences, or empty
//   findings        [sentence]
//   costs           [{arm, device, differs, parameters, position_parameters, decay_parameters, table_bytes,
//                   flop_per_token, flop_formula, memory_bytes, step_ms_median,
//                   step_ms_interquartile_range, tokens_per_second, mfu}]
//   decay           [{arm, seed, lambda [layers][heads]}], without the replicas whose method has no decay
//   configuration   the run's config.yaml
//
// NLL is in nats, times are in the unit that their name says, mfu is a share; what is not known is null.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/data_overlap.h"

namespace rse {

// What an arm costs in training, as the run measured it; the median where it has several seeds.
struct ArmCost {
  std::string arm;
  std::string device;   // that trained it; empty: not known
  std::string differs;  // from the base settings, in words; empty: nothing
  int64_t parameters = 0;
  int64_t position_parameters = 0;
  int64_t decay_parameters = 0;
  int64_t table_bytes = 0;
  double flop_per_token = 0;
  std::string flop_formula;
  std::optional<int64_t> memory_bytes;
  std::optional<double> step_ms;         // median
  std::optional<double> step_ms_spread;  // interquartile range
  std::optional<double> tokens_per_second;
  std::optional<double> mfu;  // share of the device's peak
};

struct ReplicaDecay {
  std::string arm;
  uint64_t seed = 0;
  std::vector<std::vector<double>> lambda;  // [layers][heads]
};

// What the caller knows of an evaluation and the analysis does not.
struct EvaluationMeta {
  std::string program;                  // name and version
  std::string run;                      // run folder
  int64_t step = 0;                     // of the checkpoint
  std::string data;                     // token file
  std::string data_fingerprint;         // of its content, hexadecimal
  std::vector<std::string> trained_on;  // the same of the run's training and validation files
  DataOverlap overlap;                  // with those files
  int64_t pieces = 0;
  std::string piece_selection;  // in words: "all", "first 12", "at most 64, spread", "5,000 targets drawn"
  int64_t piece_tokens = 0;
  std::vector<int64_t> lengths;
  int64_t control_window = 0;  // 0: no control
  std::string beyond;          // what learned positions do beyond their table; empty: nothing needed
  double mask_probability = 0;
  double mask_share = 0;
  double random_share = 0;
  uint64_t mask_seed = 0;
  std::string device;
  std::string precision;
  int64_t batch_tokens = 0;
  std::vector<ArmCost> costs;
  std::vector<ReplicaDecay> decay;
  std::string configuration;  // text of the run's config.yaml
};

// Writes the file complete or not at all (UserError with the system's reason).
void write_evaluation(const std::filesystem::path& path, const Analysis& analysis,
                      const EvaluationMeta& meta);

}  // namespace rse
