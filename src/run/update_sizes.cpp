#include "run/update_sizes.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace rse {
namespace {

// The sum of floor(a i / m) over 0 <= i < n, by Euclid's algorithm on a and m (the lattice points below a line).
uint64_t floor_sum(uint64_t n, uint64_t m, uint64_t a) {
  uint64_t sum = 0, b = 0;  // of floor((a i + b) / m)
  while (n > 0) {
    sum += n * (n - 1) / 2 * (a / m) + n * (b / m);
    a %= m;
    b %= m;
    const uint64_t top = a * n + b;
    n = top / m;
    b = top % m;
    std::swap(m, a);
  }
  return sum;
}

// The sizes of the ramp: multiples of `start` that are smaller than `full`.
int64_t levels(const UpdateSizes& sizes) { return (sizes.full - 1) / sizes.start; }

}  // namespace

int64_t UpdateSizes::at(int64_t step) const {
  if (step >= ramp_steps) return full;
  const int64_t all = levels(*this);  // in two parts, because step x all may overflow
  const int64_t level = step * (all / ramp_steps) + step * (all % ramp_steps) / ramp_steps;
  return start * (1 + level);
}

uint64_t UpdateSizes::before(int64_t step) const {
  RSE_ASSERT(step >= 0, "update {}", step);
  const auto ramping = static_cast<uint64_t>(std::min(step, ramp_steps));
  uint64_t sequences = (static_cast<uint64_t>(step) - ramping) * static_cast<uint64_t>(full);
  if (ramping > 0) {
    sequences +=
        static_cast<uint64_t>(start) * (ramping + floor_sum(ramping, static_cast<uint64_t>(ramp_steps),
                                                            static_cast<uint64_t>(levels(*this))));
  }
  return sequences;
}

}  // namespace rse
