#include "train/batch_source.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/threads.h"

namespace rse {
namespace {

constexpr size_t kBatchesAhead = 4;

}  // namespace

StepBatch make_step_batch(const TokenFile& file, const SequenceSet& set, const BatchPlan& plan, uint64_t seed,
                          int64_t step) {
  StepBatch batch;
  batch.step = step;
  batch.seed = seed;
  const UpdateSizes sizes = plan.sizes();
  const int64_t sequences = sizes.at(step);
  for (int64_t begin = 0; begin < sequences; begin += plan.batch_size) {
    const uint64_t first = sizes.before(step) + static_cast<uint64_t>(begin);
    const int64_t count = std::min(plan.batch_size, sequences - begin);
    batch.micro_batches.push_back(training_batch(file, set, plan.masking, seed, first, count));
    batch.tokens += batch.micro_batches.back().total();
    batch.targets += batch.micro_batches.back().targets();
  }
  return batch;
}

BatchSource::BatchSource(const TokenFile& file, const SequenceSet& set, BatchPlan plan, int64_t first_step,
                         int64_t end_step)
    : file_(file),
      set_(set),
      plan_(std::move(plan)),
      ready_(kBatchesAhead),
      thread_(start_thread("to read batches", [=, this] { produce(first_step, end_step); })) {}

BatchSource::~BatchSource() {
  ready_.close();
  thread_.join();
}

StepBatch BatchSource::next() {
  std::optional<StepBatch> batch = ready_.pop();
  if (batch) return std::move(*batch);
  RSE_ASSERT(failure_ != nullptr, "a batch beyond the last step");
  std::rethrow_exception(failure_);
}

void BatchSource::produce(int64_t first_step, int64_t end_step) {
  try {
    for (int64_t step = first_step; step < end_step; ++step) {
      for (const uint64_t seed : plan_.seeds) {
        if (!ready_.push(make_step_batch(file_, set_, plan_, seed, step))) return;
      }
    }
  } catch (...) {
    failure_ = std::current_exception();
  }
  ready_.close();
}

}  // namespace rse
