// Training batches, which one background thread builds ahead.
//
// Invariant: what a batch holds is a pure function of the seed and the step, so that any step can be the
// first and nothing needs saving. Order of calls: BatchSource -> next() for every step and, within a step,
// for every seed.
#pragma once

#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#include "core/bounded_queue.h"
#include "data/batch.h"
#include "data/masking.h"
#include "data/sequences.h"
#include "data/token_file.h"
#include "run/run_config.h"

namespace rse {

// The data of one update for one seed, which all arms share.
struct StepBatch {
  int64_t step = 0;
  uint64_t seed = 0;
  std::vector<TokenBatch> micro_batches;  // at most `accumulation` of them
  int64_t tokens = 0;
  int64_t targets = 0;  // of all micro-batches; the update's loss is divided by it
};

struct BatchPlan {
  std::vector<uint64_t> seeds;
  int64_t batch_size = 1;    // sequences per micro-batch
  int64_t accumulation = 1;  // micro-batches per update
  MaskingConfig masking;
  BatchRampConfig ramp = {};

  UpdateSizes sizes() const { return ramp.sizes(batch_size * accumulation); }
};

// The batch of `step` for `seed`: sequences sizes().before(step) and on, in the seed's order. Micro-batches of
// batch_size sequences share them, of which the last may have fewer.
StepBatch make_step_batch(const TokenFile& file, const SequenceSet& set, const BatchPlan& plan, uint64_t seed,
                          int64_t step);

class BatchSource {
 public:
  // For the steps [first_step, end_step). file and set outlive the source.
  BatchSource(const TokenFile& file, const SequenceSet& set, BatchPlan plan, int64_t first_step,
              int64_t end_step);
  ~BatchSource();
  BatchSource(const BatchSource&) = delete;
  BatchSource& operator=(const BatchSource&) = delete;

  // The next batch. It may not be called beyond the last one. It rethrows the error that stopped the thread,
  // after the batches that were ready before it.
  StepBatch next();

 private:
  void produce(int64_t first_step, int64_t end_step);

  const TokenFile& file_;
  const SequenceSet& set_;
  const BatchPlan plan_;
  BoundedQueue<StepBatch> ready_;
  std::exception_ptr failure_;  // set before ready_ is closed
  std::thread thread_;          // last, because it uses all of the above
};

}  // namespace rse
