// The training loop, which trains every (seed, arm) of a run in turn.
//
// In each step, one batch is built and uploaded for each seed, and every arm makes one update on it. The
// order of the arms rotates by one place per step (two arms: A B, B A, A B, ...). All replicas of all seeds
// are alive at once, so that a run needs their memory together. On CUDA the host never waits within a step:
// results are read one step late, and an update that is not finite cancels itself on the device. Invariants:
// a replica's path does not depend on what trains beside it, because batches are functions of the seed and
// the step; RunWriter alone writes. Order of calls: Trainer -> restore() where a run goes on -> run(). Both
// token files outlive it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <queue>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/sequences.h"
#include "data/token_file.h"
#include "eval/validation.h"
#include "run/run_config.h"
#include "run/trainer_state.h"
#include "train/batch_source.h"
#include "train/replica.h"
#include "train/report.h"
#include "train/run_writer.h"

namespace rse {

// The end of a run that could not go on: kMaxSkippedInARow updates in a row were not finite.
class TrainingFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The order of the arms in `step` (from 0): at each place the index of an arm.
std::vector<size_t> arm_order(int64_t step, size_t arms);

// The plan of the batches that `settings` ask for.
BatchPlan make_batch_plan(const RunSettings& settings);

class Trainer {
 public:
  // resolve_vocabulary() has been applied to `config`.
  Trainer(const RunConfig& config, const TokenFile& train_file, const TokenFile& valid_file,
          const torch::Device& device);

  // Makes everything as it was when `checkpoint` was saved, which passed verify_checkpoint().
  // state: read_trainer_state(checkpoint).
  void restore(const std::filesystem::path& checkpoint, const TrainerState& state);

  // Trains to the last step. Writes metrics, checkpoints and summary.json into `run_folder`, which exists.
  // stop_requested is asked after each step and before each replica's validation. Once it says true, the
  // step's checkpoint is saved and Interrupted is thrown; a validation that is cut short leaves no trace, and
  // the resumed run makes it up. Throws TrainingFailed.
  std::vector<ReplicaSummary> run(const std::filesystem::path& run_folder,
                                  const std::function<bool()>& stop_requested = {});

  // All replicas, by seed, then arm.
  std::vector<Replica*> replicas();
  // Parameters of all replicas together.
  int64_t parameters() const;

 private:
  struct InFlight {
    Replica* replica;
    Replica::Pending pending;
  };

  void begin(const std::filesystem::path& run_folder);
  void train_step(BatchSource& source);
  // Reads updates until at most `leave` are in flight.
  void drain(size_t leave);
  void record(Replica& replica, const UpdateResult& result);
  void fail(const Replica& replica);
  bool due(int64_t every) const;
  bool stop_requested() const;
  void log_decays();
  // Returns false where a request to stop came before the last replica; then nothing is written.
  bool validate();
  // Makes the checkpoint of this step the best one where its validation says so.
  void rank_checkpoint();
  void save();
  std::vector<ReplicaSummary> finish();

  RunConfig config_;
  const TokenFile& train_file_;
  const TokenFile& valid_file_;
  torch::Device device_;
  DeviceDescription device_description_;
  SequenceSet sequences_;
  EvaluationSet validation_set_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::vector<ModelReport> costs_;     // one for each arm
  std::unique_ptr<RunWriter> writer_;  // during run()
  std::function<bool()> stop_requested_;
  std::queue<InFlight> in_flight_;
  RunProgress progress_;  // its step counts updates that every replica has made or has in flight
};

}  // namespace rse
