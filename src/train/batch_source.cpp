#include "train/batch_source.h"

#include <utility>

namespace rse {
namespace {

constexpr size_t kBatchesAhead = 4;

}  // namespace

StepBatch make_step_batch(const TokenFile& file, const SequenceSet& set, const BatchPlan& plan, uint64_t seed,
                          int64_t step) {
  StepBatch batch;
  batch.step = step;
  batch.seed = seed;
  for (int64_t micro = 0; micro < plan.accumulation; ++micro) {
    const auto first = static_cast<uint64_t>(step * plan.accumulation + micro) * plan.batch_size;
    batch.micro_batches.push_back(training_batch(file, set, plan.masking, seed, first, plan.batch_size));
    batch.tokens += batch.micro_batches.back().total();
    batch.targets += batch.micro_batches.back().targets();
  }
  return batch;
}

BatchSource::BatchSource(const TokenFile& file, const SequenceSet& set, BatchPlan plan, int64_t first_step,
                         int64_t end_step)
    : file_(file), set_(set), plan_(std::move(plan)), thread_([=, this] { produce(first_step, end_step); }) {}

BatchSource::~BatchSource() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

StepBatch BatchSource::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !ready_.empty() || failure_ != nullptr; });
  if (ready_.empty()) std::rethrow_exception(failure_);
  StepBatch batch = std::move(ready_.front());
  ready_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return batch;
}

void BatchSource::produce(int64_t first_step, int64_t end_step) {
  try {
    for (int64_t step = first_step; step < end_step; ++step) {
      for (const uint64_t seed : plan_.seeds) {
        StepBatch batch = make_step_batch(file_, set_, plan_, seed, step);
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || ready_.size() < kBatchesAhead; });
        if (stopping_) return;
        ready_.push_back(std::move(batch));
        lock.unlock();
        changed_.notify_all();
      }
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }
}

}  // namespace rse
