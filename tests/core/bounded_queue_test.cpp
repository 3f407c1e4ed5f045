#include "core/bounded_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace rse {
namespace {

TEST(BoundedQueue, AFastProducerWaitsAndTheOrderStays) {
  BoundedQueue<std::unique_ptr<int>> queue(2);
  std::thread producer([&] {
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(queue.push(std::make_unique<int>(i)));
    queue.close();
  });
  for (int i = 0; i < 100; ++i) {
    const auto item = queue.pop();
    ASSERT_TRUE(item.has_value());
    EXPECT_EQ(**item, i);
  }
  EXPECT_FALSE(queue.pop().has_value());
  producer.join();
}

TEST(BoundedQueue, ClosingEndsAWaitingProducerAndLeavesWhatIsThere) {
  BoundedQueue<int> queue(1);
  EXPECT_TRUE(queue.push(7));
  std::thread producer([&] { EXPECT_FALSE(queue.push(8)); });
  queue.close();
  producer.join();
  EXPECT_EQ(queue.pop(), 7);
  EXPECT_EQ(queue.pop(), std::nullopt);
}

}  // namespace
}  // namespace rse
