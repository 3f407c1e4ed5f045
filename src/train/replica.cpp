#include "train/replica.h"

#include <ATen/record_function.h>

#include <algorithm>

#include "core/check.h"
#include "nn/autocast.h"
#include "nn/objective.h"
#include "nn/step_ranges.h"
#include "train/global_micro_batch.h"

namespace rse {
namespace {

void push_bounded(std::deque<double>& values, double value, size_t most) {
  values.push_back(value);
  if (values.size() > most) values.pop_front();
}

Encoder make_encoder(const ArmConfig& arm, uint64_t seed, const TrainConfig& train,
                     const torch::Device& device) {
  Encoder encoder(arm.model);
  initialize_parameters(*encoder, seed);  // on the CPU, so that every device starts from the same bits
  encoder->to(device);
  encoder->set_recompute(train.recompute);
  return encoder;
}

}  // namespace

Replica::Replica(const ArmConfig& arm, uint64_t seed, const TrainConfig& train, const torch::Device& device)
    : arm_(arm),
      seed_(seed),
      train_(train),
      device_(device),
      encoder_(make_encoder(arm, seed, train, device)),
      optimizer_(make_optimizer_groups(*encoder_, arm.has_decay()), train.adamw()) {}

std::string Replica::label() const { return replica_label(arm_.name, seed_); }

LearningRates Replica::rates(int64_t step) const {
  const double factor = train_.schedule_of_run().factor(step);
  return {arm_.learning_rate * factor, arm_.decay_learning_rate * factor};
}

torch::Tensor Replica::backward(int64_t step, const std::vector<DeviceBatch>& micro_batches,
                                int64_t targets) {
  const double share = 1.0 / static_cast<double>(std::max<int64_t>(1, targets));
  torch::Tensor total = torch::zeros({}, torch::dtype(torch::kFloat32).device(device_));
  for (size_t micro = 0; micro < micro_batches.size(); ++micro) {
    const DeviceBatch& batch = micro_batches[micro];
    const int64_t number = global_micro_batch(step, train_.accumulation, static_cast<int64_t>(micro));
    torch::Tensor loss;
    {
      RECORD_USER_SCOPE(kForwardRange);
      const Bf16Autocast autocast(device_, train_.precision == Precision::kBf16);
      loss = MaskedLmObjective().loss(
          *encoder_, {batch.input_ids, batch.layout, batch.target_positions, batch.target_ids}, share,
          DropoutKey{seed_, static_cast<uint64_t>(number)});
    }
    {
      RECORD_USER_SCOPE(kBackwardRange);
      loss.backward();
    }
    total += loss.detach();
  }
  return total;
}

Replica::Pending Replica::update(int64_t step, const std::vector<DeviceBatch>& micro_batches, int64_t targets,
                                 int64_t tokens) {
  UpdateResult known;
  known.step = step;
  known.tokens = tokens;
  known.rates = rates(step);
  const PeakMemory memory(device_);
  StepClock clock(device_);
  const torch::Tensor loss = backward(step, micro_batches, targets);
  const AdamW::StepResult result = optimizer_.step(known.rates, loss);
  torch::Tensor numbers = torch::empty({3}, torch::dtype(torch::kFloat32).pinned_memory(device_.is_cuda()));
  numbers.copy_(torch::stack({loss, result.grad_norm, result.skipped}), /*non_blocking=*/true);
  clock.stop();
  known.peak_bytes = memory.bytes_above_start();
  return {known, std::move(clock), numbers};
}

UpdateResult Replica::read(Pending pending) {
  UpdateResult result = pending.known;
  result.step_ms = pending.clock.milliseconds();  // this waits for the copy of the numbers too
  const float* numbers = pending.numbers.const_data_ptr<float>();
  result.loss = numbers[0];
  result.grad_norm = numbers[1];
  result.skipped = numbers[2] != 0.0f;
  RSE_ASSERT(result.step == counters.step, "update {} read after {}", result.step, counters.step);
  counters.step += 1;
  counters.tokens += result.tokens;
  push_bounded(counters.step_times_ms, result.step_ms, kStepTimes);
  counters.peak_bytes = std::max(counters.peak_bytes, result.peak_bytes);
  if (!result.skipped) {
    counters.skipped_in_a_row = 0;
    push_bounded(counters.recent_losses, result.loss, kRecentLosses);
  } else {
    counters.skipped += 1;
    counters.skipped_in_a_row += 1;
  }
  return result;
}

ReplicaSnapshot Replica::snapshot() const {
  return {{arm_.name, seed_, counters}, weights(), optimizer_.state()};
}

void Replica::restore(const std::filesystem::path& checkpoint, const TrainerState& state) {
  const auto found =
      std::find_if(state.replicas.begin(), state.replicas.end(),
                   [&](const ReplicaState& item) { return item.arm == arm_.name && item.seed == seed_; });
  if (found == state.replicas.end()) {
    throw_user_error("{}: no state of arm {}, seed {}", checkpoint.string(), arm_.name, seed_);
  }
  const std::filesystem::path model = model_file(checkpoint, label()),
                              optimizer = optimizer_file(checkpoint, label());
  const NamedTensors mine = weights();
  const auto loaded = expect_tensors(read_safetensors(model), mine, model);
  optimizer_.load_state(read_safetensors(optimizer), optimizer);
  set_tensors(mine, loaded);
  counters = found->counters;
}

}  // namespace rse
