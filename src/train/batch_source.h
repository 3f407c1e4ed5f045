// Training batches, built ahead by one background thread. What a batch holds is a pure function of (seed,
// step), so any step can be the first and nothing needs saving.
//
// Order of calls: BatchSource -> next() until finished; batches come by step, and within a step by seed.
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

namespace rse {

// One update's data for one seed, shared by all arms.
struct StepBatch {
  int64_t step = 0;
  uint64_t seed = 0;
  std::vector<TokenBatch> micro_batches;  // `accumulation` of them
  int64_t tokens = 0;
  int64_t targets = 0;  // of all micro-batches: what the update's loss is divided by
};

struct BatchPlan {
  std::vector<uint64_t> seeds;
  int64_t batch_size = 1;  // sequences a micro-batch
  int64_t accumulation = 1;
  MaskingConfig masking;
};

// The micro-batches of `step` for `seed`: each takes sequences global_micro_batch() * batch_size and on, in
// the seed's order.
StepBatch make_step_batch(const TokenFile& file, const SequenceSet& set, const BatchPlan& plan, uint64_t seed,
                          int64_t step);

class BatchSource {
 public:
  // file and set outlive the source. Steps [first_step, end_step).
  BatchSource(const TokenFile& file, const SequenceSet& set, BatchPlan plan, int64_t first_step,
              int64_t end_step);
  ~BatchSource();
  BatchSource(const BatchSource&) = delete;
  BatchSource& operator=(const BatchSource&) = delete;

  // The next batch; never called beyond the last. Rethrows what stopped the thread, after the batches that
  // were ready before it.
  StepBatch next();

 private:
  void produce(int64_t first_step, int64_t end_step);

  const TokenFile& file_;
  const SequenceSet& set_;
  const BatchPlan plan_;
  BoundedQueue<StepBatch> ready_;
  std::exception_ptr failure_;  // set before ready_ is closed
  std::thread thread_;          // last: it uses all of the above
};

}  // namespace rse
