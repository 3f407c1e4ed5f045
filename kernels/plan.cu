// Before any product: how far each row block has to look, and which block goes first.
#include "kernels/device_common.cuh"
#include "kernels/passes.h"

namespace rse::kernels {
namespace {

constexpr int kThreads = 1024, kBuckets = 64;

// Keys farther than this weigh less than skip_below in all, given s <= most (in units of log2): spec section
// 5, 2^(most - lambda D0) / (e^lambda - 1) < skip_below.
__device__ int decay_reach(float most, float decay, float skip_below, int longest) {
  if (!(skip_below > 0.f) || !(decay > 0.f)) return longest;
  constexpr float kLog2E = 1.44269504088896340736f;
  const float tail = decay > 20.f ? decay * kLog2E : log2f(expm1f(decay));  // expm1f overflows at 89
  const float reach = (most - log2f(skip_below) - tail) / (decay * kLog2E);
  if (!(reach < static_cast<float>(longest))) return longest;  // NaN too
  return max(0, static_cast<int>(reach) + 1);
}

// Tiles of keys that the block walks; a logarithmic bucket of it, the most work in bucket 0.
__device__ int bucket_of(int keys) {
  if (keys <= 0) return kBuckets - 1;
  const int tiles = keys / kKeys + 1;
  const int bucket = static_cast<int>(4.f * log2f(static_cast<float>(tiles)));
  return max(0, kBuckets - 2 - bucket);
}

__device__ int left_and_right(const RowBlock& block, int reach, bool causal) {
  const int last = min(block.row + kRows, block.length) - 1;
  return min(reach, block.row) + (causal ? 0 : min(reach, block.length - 1 - last)) + kRows;
}

// One thread block; counting sort by work.
__global__ void __launch_bounds__(kThreads)
    plan(const AttentionParams p, const Documents docs, const Prepared prepared, const Plan to,
         const int* extent, int64_t blocks) {
  __shared__ int start[kBuckets];
  const int64_t items = blocks * p.batch * p.heads;
  const auto keys_of = [&](int64_t item) {
    const int head_index = static_cast<int>(item / blocks);
    const RowBlock block = row_block(docs, static_cast<int>(item % blocks));
    if (block.row >= block.length) return 0;
    if (extent != nullptr) {
      const int last = min(block.row + kRows, block.length) - 1, sides = p.causal ? 1 : 2;
      const int64_t row = head_index * p.seq + block.begin;
      return extent[(row + last) * sides] + (p.causal ? 0 : extent[(row + block.row) * sides + 1]);
    }
    const float most =
        __uint_as_float(prepared.query_norm[item]) * __uint_as_float(prepared.key_norm[head_index]);
    int reach = decay_reach(most, p.decay[head_index % p.heads], p.skip_below, block.length);
    if (p.window > 0) reach = static_cast<int>(min(static_cast<int64_t>(reach), p.window - 1));
    to.reach[item] = reach;
    return left_and_right(block, reach, p.causal);
  };
  if (threadIdx.x < kBuckets) start[threadIdx.x] = 0;
  __syncthreads();
  for (int64_t item = threadIdx.x; item < items; item += kThreads) {
    const int bucket = bucket_of(keys_of(item));
    to.bucket[item] = bucket;
    atomicAdd(&start[bucket], 1);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    int sum = 0;
    for (int b = 0; b < kBuckets; ++b) {
      const int count = start[b];
      start[b] = sum;
      sum += count;
    }
  }
  __syncthreads();
  for (int64_t item = threadIdx.x; item < items; item += kThreads) {
    const int at = atomicAdd(&start[to.bucket[item]], 1);
    to.order[at] = make_int2(static_cast<int>(item % blocks), static_cast<int>(item / blocks));
  }
}

}  // namespace

cudaError_t launch_plan(const AttentionParams& p, const Prepared& prepared, const Plan& to, const int* extent,
                        cudaStream_t stream) {
  plan<<<1, kThreads, 0, stream>>>(p, documents_of(p), prepared, to, extent, num_blocks(p));
  return cudaGetLastError();
}

}  // namespace rse::kernels
