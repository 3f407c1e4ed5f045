// What is known before any product: how far each row block has to look, and in which order the blocks go.
#include "kernels/device_common.cuh"
#include "kernels/passes.h"

namespace rse::kernels {
namespace {

constexpr int kWarps = kPassThreads / 32, kBuckets = 64;

// Keys farther than this weigh less than skip_below in all, where no s exceeds `most` (in units of log2): the
// decay window of src/ops/README.md section 5, 2^(most - log2(e) lambda D0) / (e^lambda - 1) < skip_below.
// decay: lambda itself.
__device__ int decay_reach(float most, float decay, float skip_below, int longest) {
  if (!(skip_below > 0.f) || !(decay > 0.f)) return longest;
  const float tail = decay > 20.f ? decay * kLog2E : log2f(expm1f(decay));  // expm1f overflows at 89
  const float reach = (most - log2f(skip_below) - tail) / (decay * kLog2E);
  if (!(reach < static_cast<float>(longest))) return longest;  // NaN too
  return max(0, static_cast<int>(reach) + 1);
}

// Work in logarithmic buckets; the most is in bucket 0.
__device__ int bucket_of(float tiles, float per_octave) {
  if (!(tiles > 0)) return kBuckets - 1;
  return max(0, kBuckets - 2 - static_cast<int>(per_octave * log2f(tiles)));
}

// The number of keys that a block will visit on both sides.
__device__ int left_and_right(const RowBlock& block, int reach, bool causal) {
  const int last = min(block.row + kRows, block.length) - 1;
  return min(reach, block.row) + (causal ? 0 : min(reach, block.length - 1 - last)) + kRows;
}

// Writes the numbers 0 to count - 1 to `to`, sorted by bucket(n), those of one bucket in order. One thread
// block does it; each warp takes a run of numbers. scratch: [count].
template <typename Bucket>
__device__ void sort_by_bucket(int count, Bucket bucket, int* scratch, int* to) {
  __shared__ int start[kWarps][kBuckets], total[kBuckets];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int per_warp = (count + kPassThreads - 1) / kPassThreads * 32;
  const int begin = warp * per_warp, end = min(count, begin + per_warp);
  for (int b = threadIdx.x; b < kWarps * kBuckets; b += kPassThreads) start[b / kBuckets][b % kBuckets] = 0;
  __syncthreads();
  for (int n = begin + lane; n < end; n += 32) {
    const int b = bucket(n);
    scratch[n] = b;
    atomicAdd(&start[warp][b], 1);
  }
  __syncthreads();
  const int mine = threadIdx.x;
  if (mine < kBuckets) {
    int sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += start[w][mine];
    total[mine] = sum;
  }
  __syncthreads();
  if (mine < kBuckets) {
    int sum = 0;
    for (int b = 0; b < mine; ++b) sum += total[b];
    for (int w = 0; w < kWarps; ++w) {
      const int here = start[w][mine];
      start[w][mine] = sum;
      sum += here;
    }
  }
  __syncthreads();
  for (int first = begin; first < end; first += 32) {
    const int n = first + lane, b = n < end ? scratch[n] : -1;
    const unsigned same = __match_any_sync(~0u, b);
    const int rank = __popc(same & ((1u << lane) - 1));  // among the lanes of this bucket
    if (n < end) to[start[warp][b] + rank] = n;
    __syncwarp();
    if (n < end && rank == 0) start[warp][b] += __popc(same);
    __syncwarp();
  }
}

// Plans the blocks of a head: one thread block per head.
__global__ void __launch_bounds__(kPassThreads)
    plan_blocks(const AttentionParams p, const Documents docs, const Prepared prepared, const Plan to,
                const int* extent, int blocks) {
  const int head_index = blockIdx.x;
  const int64_t first_item = static_cast<int64_t>(head_index) * blocks;
  float work = 0;
  const auto tiles_of = [&](int b) {
    const RowBlock block = row_block(docs, b);
    if (block.row >= block.length) return 0;
    if (extent != nullptr) {
      const int last = min(block.row + kRows, block.length) - 1, sides = p.causal ? 1 : 2;
      const int64_t row = head_index * p.seq + block.begin;
      const int keys = extent[(row + last) * sides] + (p.causal ? 0 : extent[(row + block.row) * sides + 1]);
      return keys / kKeys + 1;
    }
    const float most =
        __uint_as_float(prepared.query_norm[first_item + b]) * __uint_as_float(prepared.key_norm[head_index]);
    int reach = decay_reach(most, p.decay[head_index % p.heads], p.skip_below, block.length);
    if (p.window > 0) reach = static_cast<int>(min(static_cast<int64_t>(reach), p.window - 1));
    to.reach[first_item + b] = reach;
    return left_and_right(block, reach, p.causal) / kKeys + 1;
  };
  sort_by_bucket(
      blocks,
      [&](int b) {
        const auto tiles = static_cast<float>(tiles_of(b));
        work += tiles;
        return bucket_of(tiles, 4.f);
      },
      to.bucket + first_item, to.block_order + first_item);
  __shared__ float sums[kWarps];
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) work += __shfl_xor_sync(~0u, work, mask);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = work;
  __syncthreads();
  for (int w = 1; threadIdx.x == 0 && w < kWarps; ++w) work += sums[w];
  if (threadIdx.x == 0) to.work[head_index] = work;
}

// Orders the heads: one thread block.
__global__ void __launch_bounds__(kPassThreads) plan_heads(const Plan to, int heads) {
  sort_by_bucket(
      heads, [&](int head) { return bucket_of(to.work[head], 2.f); }, to.bucket, to.head_order);
}

}  // namespace

cudaError_t launch_plan(const AttentionParams& p, const Prepared& prepared, const Plan& to, const int* extent,
                        cudaStream_t stream) {
  if (to.head_order == nullptr) return cudaSuccess;
  const int heads = static_cast<int>(p.batch * p.heads);
  plan_blocks<<<heads, kPassThreads, 0, stream>>>(p, documents_of(p), prepared, to, extent,
                                                  static_cast<int>(num_blocks(p)));
  plan_heads<<<1, kPassThreads, 0, stream>>>(to, heads);
  return cudaGetLastError();
}

}  // namespace rse::kernels
