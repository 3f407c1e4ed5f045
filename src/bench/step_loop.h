// Makes training steps as the trainer does, and keeps what each took.
//
// A step builds or waits for its batch, copies it to the device, and lets every arm of the loop make one
// update on it, in the trainer's rotating order; on CUDA results are read one step late, so the host runs
// ahead. Order of calls: StepLoop -> run() -> reset() between warm-up and measurement -> times().
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <queue>
#include <vector>

#include "bench/step_data.h"
#include "train/batch_source.h"
#include "train/replica.h"

namespace rse {

// What one arm's updates took.
struct ArmTimes {
  std::vector<double> ms;  // of each update: on CUDA by events on the device
  int64_t tokens = 0;      // of all of them together
};

class StepLoop {
 public:
  // arms: replicas that have made equally many updates; they and `data` outlive the loop.
  // steps: the most that will be run. fixed_batch: the first step's batch, built and copied once, serves all.
  StepLoop(const StepData& data, std::vector<Replica*> arms, int64_t steps, bool fixed_batch);

  // Makes so many steps, and waits for the device.
  void run(int64_t steps);
  // Makes one step. It may leave up to one update per arm unread on CUDA.
  void step();
  // Waits for every update and reads it.
  void drain();
  // Forgets the times so far.
  void reset();

  const std::vector<ArmTimes>& times() const { return times_; }  // one for each arm
  double wall_ms() const { return wall_ms_; }                    // of all calls of run() since reset()

 private:
  struct Fed {
    std::vector<DeviceBatch> micro_batches;
    int64_t targets = 0;
    int64_t tokens = 0;
  };
  Fed feed();
  void read_oldest();

  const StepData& data_;
  std::vector<Replica*> arms_;
  int64_t step_;  // of the next update
  std::optional<Fed> fixed_;
  std::unique_ptr<BatchSource> source_;  // absent with fixed_
  std::queue<std::pair<size_t, Replica::Pending>> in_flight_;
  std::vector<ArmTimes> times_;
  double wall_ms_ = 0;
};

}  // namespace rse
