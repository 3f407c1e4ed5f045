#include "bench/timeline.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace rse {

std::vector<int64_t> own_times(const std::vector<TimeSpan>& spans, const TimeSpan& window) {
  std::vector<size_t> order(spans.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return spans[a].begin != spans[b].begin ? spans[a].begin < spans[b].begin : spans[a].end > spans[b].end;
  });
  std::vector<int64_t> own(spans.size(), 0);
  std::vector<size_t> open;  // in the order in which they began; those that have ended are removed at the top
  int64_t now = std::numeric_limits<int64_t>::min();
  const auto advance_to = [&](int64_t time) {
    while (!open.empty() && now < time) {
      const size_t top = open.back();
      const int64_t until = std::min(spans[top].end, time);
      const int64_t from = std::max(now, window.begin), to = std::min(until, window.end);
      if (to > from) own[top] += to - from;
      now = std::max(now, until);
      if (spans[top].end <= now) open.pop_back();
    }
    now = time;
  };
  for (const size_t index : order) {
    advance_to(spans[index].begin);
    open.push_back(index);
  }
  advance_to(std::numeric_limits<int64_t>::max());
  return own;
}

}  // namespace rse
