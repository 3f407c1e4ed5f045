// Accounts for the time of a window by the spans that cover it.
//
// Invariant: each instant of the window belongs to at most one span, so that the spans' own times and what
// no span covers add up to the window.
#pragma once

#include <cstdint>
#include <vector>

namespace rse {

struct TimeSpan {
  int64_t begin = 0;  // nanoseconds
  int64_t end = 0;
};

// The nanoseconds of `window` that belong to each span. Of the spans that are open at an instant, the one
// that began last owns it (of those that began together, the one that ends first): of nested operators this
// is the innermost, and of kernels on several streams the newest.
std::vector<int64_t> own_times(const std::vector<TimeSpan>& spans, const TimeSpan& window);

}  // namespace rse
