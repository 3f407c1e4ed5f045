// What backward on the Hopper path is given, and how it lays out shared memory.
#pragma once

#include "kernels/hopper/tile.cuh"

namespace rse::kernels {

struct BackwardHopperArguments {
  const void *query, *key, *value, *grad_out;
  const float *self_logit, *decay;
  const uint32_t* value_norm;
  const float4* row_state;
  Plan plan;
  const int* extent;
  const uint32_t* own;     // rows: own key's weight and dx, a pair of T
  float* grad_query;       // null: `query_out` is written
  void* query_out;         // [batch, seq, heads, D]
  const float *cos, *sin;  // null: no rotation
  float *grad_key, *grad_value, *grad_decay;
  int64_t seq, blocks, slot_stride;
  int heads, window, slots;  // slots: 0 where blocks come in any order
  float scale;
  bool causal, self_key, shared;
};

template <int D>
struct BackwardHopperTile {
  static constexpr int kStages = D == 64 ? 3 : 2;
  static constexpr int kMatrix = kKeys * D;  // key; value; 64 rows of query, of grad_out
  static constexpr int kStage = 2 * kMatrix;
  static constexpr int kPanels = D / kPanel;
  static constexpr int kWeights = kRows * kKeys;  // weights; logit gradients
  static constexpr int kQuery = kStages * kStage, kGradOut = kQuery + 2 * kMatrix,
                       kBuffers = kGradOut + 2 * kMatrix;
  // A panel of floats for each warpgroup, kSumBuffers times.
  static constexpr int kSums = kBuffers + 4 * kWeights;
  static constexpr int kSumBuffers = kPanels == 1 ? 2 : 1, kPanelFloats = kKeys * kPanel;
  static constexpr int kOwnKeys = kSums + kSumBuffers * 2 * 2 * kPanelFloats;  // kRows pairs
  static constexpr int kBarriers = kOwnKeys + 2 * kRows;
  static constexpr int kShared = kBarriers * 2 + 64;
};

// Eight neighbouring columns of 64-column rows, 16 bytes, as wgmma's 128-byte swizzle has them.
__device__ inline int weight_chunk(int row, int chunk) { return row * kKeys + (chunk ^ (row & 7)) * 8; }

// Named barriers: of each warpgroup alone; and, for each buffer and warpgroup, what it wrote.
constexpr int kOwn = 1, kWritten = 3;

}  // namespace rse::kernels
