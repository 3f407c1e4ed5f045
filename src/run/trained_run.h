// A finished or running training run, opened for reading: configuration, one complete checkpoint, and the
// weights of any of its replicas (no optimizer).
//
// Order of calls: open_trained_run() -> check_same_tokenizer() for every token file -> load_encoder(), one
// replica at a time where memory is short. Nothing here writes.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/file.h"
#include "data/token_file.h"
#include "nn/encoder.h"
#include "run/checkpoint.h"
#include "run/run_config.h"

namespace rse {

struct TrainedRun {
  std::filesystem::path folder;
  std::filesystem::path checkpoint;
  RunConfig config;           // of the checkpoint
  std::string configuration;  // its text
  TrainerState state;
  uint64_t tokenizer_hash = 0;
  // Weights by replica ("rse.seed1"), mapped: a run that goes on may remove the checkpoint meanwhile.
  std::map<std::string, std::shared_ptr<const MappedFile>> models;

  int64_t trained_length() const { return config.base.data.seq_len; }
};

// step: absent, the newest complete checkpoint, chosen again where the run removes it meanwhile. Every file
// of the checkpoint is read and compared with its checksum. UserError naming the folder or file: no run
// folder, no complete checkpoint (of that step), a damaged file.
TrainedRun open_trained_run(const std::filesystem::path& folder, std::optional<int64_t> step);

// UserError where `file` was made with another tokenizer than the run's.
void check_same_tokenizer(const TrainedRun& run, const TokenFile& file);

// `model`: the arm's, in which only settings without parameters of their own may have been changed; its
// vocabulary is known. On `device`. UserError where the checkpoint has no such replica or its file does not
// fit the model.
Encoder load_encoder(const TrainedRun& run, const std::string& arm, uint64_t seed, const ModelConfig& model,
                     const torch::Device& device);

}  // namespace rse
