// Tests the numbers of micro-batches by hand.
#include "train/global_micro_batch.h"

#include <gtest/gtest.h>

namespace rse {
namespace {

// With three micro-batches per update: update 1 has the numbers 3, 4 and 5, update 2 has 6, 7 and 8. A number
// that forgot the update, or the accumulation, would give update 1 and update 2 some in common.
TEST(GlobalMicroBatch, CountsThroughTheRun) {
  EXPECT_EQ(global_micro_batch(0, 3, 0), 0);
  EXPECT_EQ(global_micro_batch(0, 3, 2), 2);
  EXPECT_EQ(global_micro_batch(1, 3, 0), 3);
  EXPECT_EQ(global_micro_batch(1, 3, 2), 5);
  EXPECT_EQ(global_micro_batch(2, 3, 1), 7);
  EXPECT_EQ(global_micro_batch(7, 1, 0), 7);
  for (const int64_t accumulation : {1, 2, 3, 8}) {
    int64_t expected = 0;
    for (int64_t step = 0; step < 20; ++step) {
      for (int64_t micro = 0; micro < accumulation; ++micro) {
        EXPECT_EQ(global_micro_batch(step, accumulation, micro), expected++);
      }
    }
  }
}

}  // namespace
}  // namespace rse
