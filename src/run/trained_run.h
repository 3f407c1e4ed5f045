// A finished or running training run, opened for reading: its configuration, one complete checkpoint, and the
// weights of any of its replicas, without the optimizer.
//
// Order of calls: open_trained_run() -> check_same_tokenizer() for every token file -> load_encoder(), one
// replica at a time where memory is short. Invariant: nothing here writes.
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
  RunConfig config;           // the configuration in the checkpoint
  std::string configuration;  // its text
  TrainerState state;
  uint64_t tokenizer_hash = 0;
  // Weights by replica ("rse.seed1"), mapped, because a run that goes on may remove the checkpoint meanwhile.
  std::map<std::string, std::shared_ptr<const MappedFile>> models;

  int64_t trained_length() const { return config.base.data.seq_len; }
};

// Opens the checkpoint of `step`, or the newest complete one, which is chosen again where the run removes it
// meanwhile; a newer one without its mark is named in a warning. Every file of the checkpoint is read and compared with its checksum. UserError naming the folder
// or the file: no run folder, no complete checkpoint (of that step), a damaged file.
TrainedRun open_trained_run(const std::filesystem::path& folder, std::optional<int64_t> step);

// UserError where `file` was made with another tokenizer than the run's.
void check_same_tokenizer(const TrainedRun& run, const TokenFile& file);

// A replica's encoder with its trained weights, on `device`. model: that of the arm, its vocabulary known;
// only settings without parameters of their own may have been changed in it. UserError where the checkpoint
// has no such replica, or where its file does not fit the model.
Encoder load_encoder(const TrainedRun& run, const std::string& arm, uint64_t seed, const ModelConfig& model,
                     const torch::Device& device);

}  // namespace rse
