// How a thread holds the keys of a row, and which lanes share that row: what the walk and the stick are
// templated on, so that one text serves every path.
//
// A "Keys" type says where in a thread's array of numbers key n of its row stands: kCount neighbouring keys,
// n = 0 the first in the document's order. A "Lanes" type says how the lanes of a warp that share a row are
// ordered along it: lanes differing in mask(s) hold neighbouring groups of 2^s lanes each.
#pragma once

namespace rse::kernels {

// The array holds one row and nothing else.
template <int kHeld>
struct OneRow {
  static constexpr int kCount = kHeld;
  __device__ constexpr int operator()(int n) const { return n; }
};

// Row 0 or 1 of the two that a thread holds in an accumulator of mma.sync or wgmma with 64 columns: 16 keys
// each, in pairs, the two rows by turns. The tile's keys are permuted (key_of_column), so that they are
// neighbours.
struct AccumulatorRow {
  static constexpr int kCount = 16;
  int row;
  __device__ constexpr int operator()(int n) const { return 4 * (n / 2) + 2 * row + n % 2; }
};

// The key of a tile that column c of such an accumulator holds, and the column that holds key n: the lane
// with quad_lane() == l gets keys 16 l to 16 l + 15.
__host__ __device__ inline int key_of_column(int c) { return 16 * ((c & 7) >> 1) + 2 * (c >> 3) + (c & 1); }
__host__ __device__ inline int column_of_key(int n) { return 8 * (n % 16 / 2) + 2 * (n / 16) + n % 2; }

__device__ inline int quad_of_warp() { return threadIdx.x % 32 / 4; }  // 0 to 7; its rows: that, and 8 more
__device__ inline int quad_lane() { return threadIdx.x % 4; }

// Four neighbouring lanes share a row. What nearer lanes hold is applied to a running value one by one.
struct QuadLanes {
  static constexpr int kSteps = 2;
  static constexpr bool kCombineFirst = false;
  __device__ static constexpr int mask(int step) { return 1 << step; }
};

// kLanes lanes, every other one of a warp, share a row. What nearer lanes hold is combined before it is
// applied to a running value, which keeps the chain from tile to tile short.
template <int kLanes>
struct AlternateLanes {
  static constexpr int kSteps = kLanes == 16 ? 4 : kLanes == 8 ? 3 : 0;
  static_assert(kSteps != 0, "a row of 64 or 32 keys is shared by 16 or 8 lanes, 4 keys each");
  static constexpr bool kCombineFirst = true;
  __device__ static constexpr int mask(int step) { return 2 << step; }
};

}  // namespace rse::kernels
