// Tests the sizes of updates in a batch ramp, and the sequences that they take.
#include "run/update_sizes.h"

#include <gtest/gtest.h>

#include <vector>

namespace rse {
namespace {

TEST(UpdateSizes, AreFullWithoutARamp) {
  const UpdateSizes sizes{24, 0, 0};
  for (const int64_t step : {0, 1, 1000}) {
    EXPECT_EQ(sizes.at(step), 24);
    EXPECT_EQ(sizes.before(step), static_cast<uint64_t>(24 * step));
  }
}

void expect_sizes(const UpdateSizes& sizes, const std::vector<int64_t>& expected) {
  for (size_t step = 0; step < expected.size(); ++step) {
    EXPECT_EQ(sizes.at(static_cast<int64_t>(step)), expected[step]) << step;
  }
}

// By hand: the multiples of the start below the full size, each for as many updates.
TEST(UpdateSizes, GrowInStepsOfTheStart) {
  expect_sizes({16, 4, 6}, {4, 4, 8, 8, 12, 12, 16, 16});
  expect_sizes({16, 4, 7}, {4, 4, 4, 8, 8, 12, 12, 16});  // floor(3 step / 7)
  expect_sizes({18, 4, 4}, {4, 8, 12, 16, 18});           // the last step is a smaller one
  expect_sizes({16, 4, 2}, {4, 8, 16});  // shorter than there are sizes: 4 x (1 + floor(3 / 2))
  expect_sizes({7, 7, 3}, {7, 7, 7, 7});
  expect_sizes({5, 1, 4}, {1, 2, 3, 4, 5});
}

TEST(UpdateSizes, TakeEverySequenceOnceInOrder) {
  const std::vector<UpdateSizes> all = {{16, 4, 6},   {16, 4, 7}, {18, 4, 4},    {16, 4, 2},     {7, 7, 3},
                                        {513, 1, 97}, {64, 3, 1}, {1000, 7, 61}, {4096, 64, 199}};
  for (const UpdateSizes& sizes : all) {
    uint64_t sum = 0;
    for (int64_t step = 0; step < sizes.ramp_steps + 5; ++step) {
      EXPECT_EQ(sizes.before(step), sum) << sizes.full << ", " << sizes.start << ", step " << step;
      sum += static_cast<uint64_t>(sizes.at(step));
      EXPECT_LE(sizes.at(step), sizes.at(step + 1));
    }
  }
}

// The largest ramp that a configuration can ask for: 2^40 sequences after 2^24 updates.
TEST(UpdateSizes, DoNotOverflow) {
  const UpdateSizes sizes{int64_t{1} << 40, 1, int64_t{1} << 24};
  const int64_t last = (int64_t{1} << 24) - 1;
  const int64_t levels = (int64_t{1} << 40) - 1;  // 2^16 x 2^24 - 1, so floor(last x levels / 2^24) by hand:
  EXPECT_EQ(sizes.at(last), 1 + last * 65536 - 1);  // last x 2^16 - last / 2^24, rounded down
  EXPECT_EQ(sizes.at(last + 1), levels + 1);
  EXPECT_EQ(sizes.before(last + 1) - sizes.before(last), static_cast<uint64_t>(sizes.at(last)));
}

}  // namespace
}  // namespace rse
