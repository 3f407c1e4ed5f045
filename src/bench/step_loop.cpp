#include "bench/step_loop.h"

#include <utility>

#include "core/check.h"
#include "core/logging.h"
#include "eval/device_batch.h"
#include "train/trainer.h"

namespace rse {
namespace {

std::vector<DeviceBatch> copied(const StepBatch& batch, const torch::Device& device) {
  std::vector<DeviceBatch> micro_batches;
  for (const TokenBatch& micro : batch.micro_batches) micro_batches.push_back(to_device(micro, device));
  return micro_batches;
}

}  // namespace

StepLoop::StepLoop(const StepData& data, std::vector<Replica*> arms, int64_t steps, bool fixed_batch)
    : data_(data), arms_(std::move(arms)), step_(arms_.front()->counters.step), times_(arms_.size()) {
  for (const Replica* arm : arms_) {
    RSE_ASSERT(arm->counters.step == step_, "arms after {} and {} updates", arm->counters.step, step_);
  }
  if (fixed_batch) {
    const StepBatch batch = data.batch(0);
    fixed_ = Fed{copied(batch, arms_.front()->device()), batch.targets, batch.tokens};
  } else {
    source_ = std::make_unique<BatchSource>(data.file(), data.sequences(), data.plan(), step_, step_ + steps);
  }
}

StepLoop::Fed StepLoop::feed() {
  if (fixed_) return *fixed_;
  const StepBatch batch = source_->next();
  return {copied(batch, arms_.front()->device()), batch.targets, batch.tokens};
}

void StepLoop::step() {
  const Fed fed = feed();
  for (const size_t arm : arm_order(step_, arms_.size())) {
    in_flight_.emplace(arm, arms_[arm]->update(step_, fed.micro_batches, fed.targets, fed.tokens));
  }
  ++step_;
  const size_t leave = arms_.front()->device().is_cuda() ? arms_.size() : 0;
  while (in_flight_.size() > leave) read_oldest();
}

void StepLoop::read_oldest() {
  auto [arm, pending] = std::move(in_flight_.front());
  in_flight_.pop();
  const UpdateResult result = arms_[arm]->read(std::move(pending));
  times_[arm].ms.push_back(result.step_ms);
  times_[arm].tokens += result.tokens;
}

void StepLoop::drain() {
  while (!in_flight_.empty()) read_oldest();
}

void StepLoop::run(int64_t steps) {
  const double start = now_seconds();
  for (int64_t n = 0; n < steps; ++n) step();
  drain();
  wall_ms_ += 1e3 * (now_seconds() - start);
}

void StepLoop::reset() {
  drain();
  times_.assign(arms_.size(), {});
  wall_ms_ = 0;
}

}  // namespace rse
