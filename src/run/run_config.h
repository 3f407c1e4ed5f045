// The configuration of a training run: one YAML file, typed and checked.
//
// Sections: model (nn/model_config.h), data, train, validation, logging, checkpoint, output, and arms: a map
// of NAME -> overrides. An arm is the base tree merged with its override, so that messages name the file and
// line. Only keys that leave the comparison fair may be overridden (src/eval/README.md section 1), which is
// said where each key is bound (run_key_rules()). Without arms there is one, named after its position method.
// Order of calls: load_run_config() -> resolve_vocabulary() once the token files are open.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/config_binder.h"
#include "core/config_tree.h"
#include "core/enum_names.h"
#include "core/key_rules.h"
#include "data/masking.h"
#include "data/sequences.h"
#include "data/token_file.h"
#include "nn/model_config.h"
#include "nn/recompute.h"
#include "run/schedule.h"
#include "run/update_sizes.h"

namespace rse {

struct DataConfig {
  std::string train;  // token file, relative to the current folder
  std::string valid;  // token file of held-out text
  int64_t seq_len = 512;
  Packing packing = Packing::kDocument;
  int64_t min_tokens = 64;  // a document's last, shorter sequence has at least so many (packing: document)
  MaskingConfig mask;
  void bind(ConfigBinder& b);
};

enum class OptimizerKind { kAdamW, kStableAdamW };
const EnumNames<OptimizerKind>& optimizer_kind_names();  // adamw, stable_adamw

// The settings of the optimizer (train/optimizer.h).
struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.98;
  double eps = 1e-8;
  double weight_decay = 0.01;
  double clip_norm = 1.0;  // bound on the norm of all gradients together; 0: no clipping
  OptimizerKind kind = OptimizerKind::kAdamW;
};

enum class Precision { kFloat32, kBf16 };
enum class DeviceChoice { kAuto, kCpu, kCuda };
const EnumNames<Precision>& precision_names();         // float32, bf16
const EnumNames<DeviceChoice>& device_choice_names();  // auto, cpu, cuda

// Keys under `train.batch_ramp:`. Both are 0 (no ramp), or neither is.
struct BatchRampConfig {
  int64_t start = 0;  // sequences of the first update, at most batch_size x accumulation
  int64_t steps = 0;  // updates before the first one of batch_size x accumulation sequences
  void bind(ConfigBinder& b);

  // full: batch_size x accumulation.
  UpdateSizes sizes(int64_t full) const { return {full, start, steps}; }
};

struct TrainConfig {
  int64_t steps = 1000;
  int64_t batch_size = 64;   // sequences per micro-batch
  int64_t accumulation = 1;  // micro-batches per update
  BatchRampConfig batch_ramp;
  std::vector<int64_t> seeds = {1};
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double learning_rate = 1e-3;
  double decay_learning_rate = 2e-2;  // of the raw decays
  double weight_decay = 0.01;         // of matrices and embeddings
  std::vector<double> betas = {0.9, 0.98};
  double eps = 1e-8;
  ScheduleShape schedule = ScheduleShape::kLinear;
  int64_t warmup_steps = 200;
  double min_lr = 0.0;      // the schedule ends at this share of the peak learning rate
  int64_t decay_steps = 0;  // schedule wsd: the last updates, in which the learning rate decays; 0: it stays
  DecayShape decay_shape = DecayShape::kSqrt;  // schedule wsd
  double clip_norm = 1.0;                      // 0: no clipping
  Precision precision = Precision::kFloat32;
  DeviceChoice device = DeviceChoice::kAuto;
  int64_t threads = 0;  // 0: LibTorch's choice
  bool deterministic = false;
  Recompute recompute = Recompute::kNone;  // what backward computes again to save memory
  double peak_tflops = 0.0;  // for MFU; 0: the data sheet's for a known GPU in bf16, else unknown
  void bind(ConfigBinder& b);
  // What bind() expects of keys together: UserError.
  void check_together(const ConfigBinder& b) const;

  Schedule schedule_of_run() const {
    return {schedule, warmup_steps, steps, min_lr, decay_steps, decay_shape};
  }
  UpdateSizes update_sizes() const { return batch_ramp.sizes(batch_size * accumulation); }
  AdamWOptions adamw() const { return {betas[0], betas[1], eps, weight_decay, clip_norm, optimizer}; }
};

// Keys under `validation:`.
struct ValidationConfig {
  int64_t every = 500;       // steps between validations; 0: at the end only
  int64_t length = 0;        // tokens of a window; 0: data.seq_len
  int64_t piece_tokens = 0;  // texts are cut into pieces of so many tokens, a multiple of length; 0: length
  int64_t pieces = 256;      // at most so many pieces are used; 0: all
  int64_t seed = 0;          // of the targets
  // Tokens per forward pass, at least one piece. It changes memory and speed, not results.
  int64_t batch_tokens = 16384;
  double mask_rate = 0.0;  // probability that a token becomes a target; 0: data.mask.probability
  bool operator==(const ValidationConfig&) const = default;
  void bind(ConfigBinder& b);

  int64_t window(int64_t seq_len) const { return length == 0 ? seq_len : length; }
};

struct LoggingConfig {
  int64_t every = 50;  // steps between progress lines
  bool tensorboard = true;
  void bind(ConfigBinder& b);
};

struct CheckpointConfig {
  int64_t every = 500;  // steps between checkpoints; 0: at the end only
  int64_t keep = 2;     // so many of the newest complete ones stay
  // So does the one with the lowest validation NLL, of those that were saved in a step of validation.
  bool keep_best = true;
  void bind(ConfigBinder& b);
};

// Everything in a run's configuration but the arms.
struct RunSettings {
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  ValidationConfig validation;
  LoggingConfig logging;
  CheckpointConfig checkpoint;
  std::string output;  // run folder; empty: runs/<configuration's name>
  void bind(ConfigBinder& b);

  // How validation and rse-eval mask: data.mask, at validation.mask_rate where that is set.
  MaskingConfig validation_mask() const;
  // The key that states validation_mask().probability, for messages.
  const char* validation_mask_key() const;
};

// What may be done to each key of RunSettings: on resume, by an arm, between combined evaluations. Whoever
// compares two configurations asks here.
const KeyRules& run_key_rules();

struct ArmConfig {
  std::string name;
  ModelConfig model;
  double learning_rate = 0;
  double decay_learning_rate = 0;
  std::string differs;  // "model.position.method=rope, ..."; empty where the arm is the base
  bool has_decay() const { return model.position.active().has_decay(); }
};

struct RunConfig {
  RunSettings base;
  std::vector<ArmConfig> arms;
  std::filesystem::path source;  // the file that was read
  ConfigNode overrides;          // `arms:` as written

  // YAML with every key in effect; load_run_config reads it back to the same run.
  std::string dump() const;
};

// Finds the file `name` (find_config()), applies `assignments` ("--set") to the base settings, merges the
// arms and checks everything.
RunConfig load_run_config(const std::string& name, const std::vector<std::string>& assignments);

// The same from a tree that was read already; `source` names it.
RunConfig make_run_config(ConfigNode tree, const std::filesystem::path& source);

// Opens data.train or data.valid; `key` names it in messages. A missing file's message says how to make one.
// Files of up to kVerifiedOnOpening bytes are compared with their checksums; larger ones are by rse-data info
// --verify only.
inline constexpr uint64_t kVerifiedOnOpening = uint64_t{1} << 30;
TokenFile open_token_file(const std::string& path, const char* key);

// Sets model.vocab_size = 0 to the tokenizer's in every arm. UserError where it differs from the tokenizer's,
// where the two files' tokenizers differ, or where an arm's position method cannot take the longest sequence
// of training or validation.
void resolve_vocabulary(RunConfig& config, const TokenFile& train, const TokenFile& valid);

}  // namespace rse
