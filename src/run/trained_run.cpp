#include "run/trained_run.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/check.h"
#include "core/file.h"
#include "core/hash.h"
#include "run/weights.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

int64_t choose_step(const fs::path& folder, std::optional<int64_t> wanted) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored) || !fs::exists(folder / "config.yaml", ignored)) {
    throw_user_error("{}: not a run folder (no config.yaml in it): expected one that rse-train made",
                     folder.string());
  }
  const std::vector<int64_t> steps = complete_checkpoints(folder);
  if (steps.empty()) {
    throw_user_error("{}: no complete checkpoint in it: expected at least one checkpoints/step-N",
                     folder.string());
  }
  if (!wanted) {
    const std::vector<int64_t> damaged = incomplete_checkpoints(folder);
    if (!damaged.empty() && damaged.back() > steps.back()) {
      spdlog::warn(
          "{}: not evaluated: there is no COMPLETE in it (was it cut short in copying?), so step {} is",
          checkpoint_folder(folder, damaged.back()).string(), steps.back());
    }
    return steps.back();
  }
  if (std::find(steps.begin(), steps.end(), *wanted) == steps.end()) {
    throw_user_error("{}: no complete checkpoint of step {}: expected one of {}", folder.string(), *wanted,
                     fmt::join(steps, ", "));
  }
  return *wanted;
}

TrainedRun open_checkpoint(const fs::path& folder, int64_t step) {
  TrainedRun run;
  run.folder = folder;
  run.checkpoint = checkpoint_folder(folder, step);
  verify_checkpoint(run.checkpoint);
  run.state = read_trainer_state(run.checkpoint);
  const fs::path config = run.checkpoint / "config.yaml";  // the run folder's own may be of a later step
  run.configuration = read_file(config);
  run.config = make_run_config(parse_config(run.configuration, config.string()), config);
  const std::string tokenizer = read_file(run.checkpoint / "tokenizer.model");
  run.tokenizer_hash = xxh64(tokenizer.data(), tokenizer.size());
  for (const ReplicaState& replica : run.state.replicas) {
    const std::string label = replica_label(replica.arm, replica.seed);
    run.models[label] = std::make_shared<const MappedFile>(model_file(run.checkpoint, label));
  }
  return run;
}

}  // namespace

TrainedRun open_trained_run(const fs::path& folder, std::optional<int64_t> step) {
  while (true) {
    const int64_t chosen = choose_step(folder, step);
    try {
      return open_checkpoint(folder, chosen);
    } catch (const UserError&) {
      // A run that trains makes newer checkpoints and may have removed this one meanwhile: choose again.
      if (step || is_complete_checkpoint(checkpoint_folder(folder, chosen))) throw;
    }
  }
}

void check_same_tokenizer(const TrainedRun& run, const TokenFile& file) {
  if (file.tokenizer_hash() == run.tokenizer_hash) return;
  throw_user_error("{}: tokenizer {}, expected {} as in {}", file.path().string(),
                   hex64(file.tokenizer_hash()), hex64(run.tokenizer_hash),
                   (run.checkpoint / "tokenizer.model").string());
}

Encoder load_encoder(const TrainedRun& run, const std::string& arm, uint64_t seed, const ModelConfig& model,
                     const torch::Device& device) {
  const auto found = run.models.find(replica_label(arm, seed));
  if (found == run.models.end()) {
    throw_user_error("{}: no state of arm {}, seed {}", run.checkpoint.string(), arm, seed);
  }
  Encoder encoder(model);
  const NamedTensors weights = weights_of(*encoder);
  const MappedFile& file = *found->second;
  set_tensors(weights, expect_tensors(read_safetensors(file), weights, file.path()));
  encoder->to(device);
  return encoder;
}

}  // namespace rse
