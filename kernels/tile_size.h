// The sizes of row blocks and tiles, and everything that follows from them: threads, stages, shared memory.
//
// A row block is kRows consecutive queries of one document. It walks the keys in tiles of kKeys. Each path's
// namespace says how a thread block shares a row block and where things lie in its shared memory: offsets
// count elements (float32: floats; portable, hopper: 16-bit numbers) from its start, and kSharedBytes is the
// whole. D is the head size padded to 32, 64 or 128. Plain C++, which the host compiler reads too.
#pragma once

namespace rse::kernels {

constexpr int kRows = 128;         // queries per row block
constexpr int kKeys = 64;          // keys per tile
constexpr int kWarpRows = 16;      // queries per warp, on every path
constexpr int kPassThreads = 256;  // threads per block of the element-wise passes and of the plan

static_assert(kRows == 2 * kKeys,
              "the Hopper layout and the element-wise passes count two tiles per row block");
static_assert(kKeys == 64,
              "a quad holds 16 keys per lane, wgmma is 64 columns wide, and tiles are permuted by 64");

constexpr int kKibibyte = 1024;

// Tensor cores through mma.sync: a warp holds 16 rows, and a quad of lanes shares a row's 64 keys.
namespace portable {

constexpr int kThreads = 256;
static_assert(kThreads / 32 * kWarpRows == kRows, "eight warps of 16 rows hold a row block");

template <int D>
struct ForwardTile {
  static constexpr int kBlocksPerMultiprocessor = D <= 64 ? 2 : 1;  // what its registers are bounded for
  static constexpr int kStages = 2;
  static constexpr int kMatrix = kKeys * D;   // keys, or values
  static constexpr int kStage = 2 * kMatrix;  // keys, then values
  static constexpr int kSharedBytes = kStages * kStage * 2;
  static_assert(kStages == 2, "the walk takes the stages by turns");
};

template <int D>
struct BackwardTile {
  static constexpr int kStages = 2;
  static constexpr int kMatrix = kKeys * D;
  static constexpr int kStage = 2 * kMatrix;
  static constexpr int kRowMatrix = kRows * D;         // queries, or grad_out
  static constexpr int kWeightMatrix = kRows * kKeys;  // weights, or logit gradients
  static constexpr int kQuery = kStages * kStage;
  static constexpr int kGradOut = kQuery + kRowMatrix;
  static constexpr int kWeights = kGradOut + kRowMatrix;
  static constexpr int kLogitGrads = kWeights + kWeightMatrix;
  static constexpr int kSharedBytes = (kLogitGrads + kWeightMatrix) * 2;
  static_assert(kStages == 2, "the walk takes the stages by turns");
};
static_assert(BackwardTile<64>::kSharedBytes <= 99 * kKibibyte,
              "compute capability 8.6 and 8.9 give a block 99 KiB, and take head_dim up to 64");
static_assert(BackwardTile<128>::kSharedBytes <= 163 * kKibibyte,
              "compute capability 8.0 gives a block 163 KiB");

}  // namespace portable

// Multiply-adds on the plain cores. A row block is walked in two halves, a thread block each, so that
// backward's matrices fit the 99 KiB of compute capability 8.6 and 8.9.
namespace float32 {

constexpr int kThreads = 128;
constexpr int kHalfRows = kRows / 2;
static_assert(kThreads / 32 * kWarpRows == kHalfRows, "four warps of 16 rows hold half a row block");

template <int D>
struct ForwardTile {
  static constexpr int kBlocksPerMultiprocessor = D <= 64 ? 3 : 2;  // what its registers are bounded for
  static constexpr int kTileKeys = kKeys;
  static constexpr int kMatrix = kHalfRows * D;  // queries, keys, or values
  // Weights take the place of the keys, which are then loaded later.
  static constexpr bool kWeightsOverKeys = D > 64;
  static constexpr int kWeightMatrix = kHalfRows * kTileKeys;
  static constexpr int kKeysAt = kMatrix, kValues = 2 * kMatrix;
  static constexpr int kWeights = kWeightsOverKeys ? kKeysAt : 3 * kMatrix;
  static constexpr int kSelfWeights = 3 * kMatrix + (kWeightsOverKeys ? 0 : kWeightMatrix);  // one per row
  static constexpr int kSharedBytes = (kSelfWeights + kHalfRows) * 4;
  static_assert(kTileKeys == kHalfRows,
                "queries and keys take the same room, and one tile holds the diagonal");
  static_assert(!kWeightsOverKeys || kWeightMatrix <= kMatrix, "weights must fit where the keys were");
  static_assert(kSharedBytes <= 99 * kKibibyte, "compute capability 8.6 and 8.9 give a block 99 KiB");
};

template <int D>
struct BackwardTile {
  static constexpr int kBlocksPerMultiprocessor = 2;  // what its registers are bounded for
  static constexpr int kTileKeys = D <= 64 ? 64 : 32;
  static constexpr int kRowMatrix = kHalfRows * D;             // queries, or grad_out
  static constexpr int kKeyMatrix = kTileKeys * D;             // keys, or values
  static constexpr int kWeightMatrix = kHalfRows * kTileKeys;  // weights, or logit gradients
  static constexpr bool kWeightsOverValues = D > 64;           // both take the place of the values
  static constexpr int kGradOut = kRowMatrix, kKeysAt = 2 * kRowMatrix, kValues = kKeysAt + kKeyMatrix;
  static constexpr int kWeights = kWeightsOverValues ? kValues : kValues + kKeyMatrix;
  static constexpr int kLogitGrads = kWeights + kWeightMatrix;
  static constexpr int kSharedBytes =
      (2 * (kRowMatrix + kKeyMatrix) + (kWeightsOverValues ? 0 : 2 * kWeightMatrix)) * 4;
  static_assert(!kWeightsOverValues || 2 * kWeightMatrix <= kKeyMatrix,
                "weights and logit gradients must fit where the values were");
  static_assert(kSharedBytes <= 99 * kKibibyte, "compute capability 8.6 and 8.9 give a block 99 KiB");
};

}  // namespace float32

// Tensor cores through wgmma: two warpgroups hold 64 queries each and share the tiles of keys.
namespace hopper {

constexpr int kThreads = 256, kWarpgroup = 128;
constexpr int kPanel = 64;                      // columns of 128 bytes, as the swizzle of wgmma wants them
constexpr int kPanelElements = kKeys * kPanel;  // of a tile
constexpr int kBarrierBytes = 64;               // one 8-byte mbarrier per stage
static_assert(kThreads / 32 * kWarpRows == kRows, "eight warps of 16 rows hold a row block");
static_assert(kThreads / kWarpgroup * kKeys == kRows,
              "each warpgroup holds as many queries as a tile holds keys");

template <int D>
struct ForwardTile {
  static constexpr int kBlocksPerMultiprocessor = D == 64 ? 2 : 1;  // what its registers are bounded for
  // kStep: tiles between two barriers. Three steps: when one begins, the value product of the tile before is
  // still under way, so what is loaded then goes into the stages of the step before that.
  static constexpr int kStages = 6, kStep = 2;
  static constexpr int kPanels = D / kPanel;
  static constexpr int kMatrix = kKeys * D;   // keys, values, or the queries of a warpgroup
  static constexpr int kStage = 2 * kMatrix;  // keys, then values
  static constexpr int kQuery = kStages * kStage;
  static constexpr int kBarriers = kQuery + 2 * kMatrix;
  static constexpr int kSharedBytes = kBarriers * 2 + kBarrierBytes;
  static_assert(kStages == 3 * kStep, "a step is loaded, one is computed, and one still feeds a product");
  static_assert(kStages * 8 <= kBarrierBytes, "each stage has a barrier of 8 bytes");
  static_assert(kMatrix == kPanels * kPanelElements, "a tile is whole panels");
  static_assert(kBlocksPerMultiprocessor * (kSharedBytes + kKibibyte) <= 228 * kKibibyte,
                "a multiprocessor has 228 KiB, of which each block costs 1 KiB beside its own");
};

template <int D>
struct BackwardTile {
  static constexpr int kStages = D == 64 ? 3 : 2;
  static constexpr int kPanels = D / kPanel;
  static constexpr int kMatrix = kKeys * D;  // keys, values, or a warpgroup's rows of queries or grad_out
  static constexpr int kStage = 2 * kMatrix;
  static constexpr int kWeightMatrix = kRows * kKeys;  // weights, or logit gradients
  static constexpr int kQuery = kStages * kStage;
  static constexpr int kGradOut = kQuery + 2 * kMatrix;
  static constexpr int kBuffers = kGradOut + 2 * kMatrix;  // twice: weights, then logit gradients
  // Sums of dV and dK on their way to L2: a panel of floats per warpgroup, kSumBuffers times.
  static constexpr int kSums = kBuffers + 4 * kWeightMatrix;
  static constexpr int kSumBuffers = kPanels == 1 ? 2 : 1;
  static constexpr int kSelfKeys = kSums + kSumBuffers * 2 * 2 * kPanelElements;  // a pair per row
  static constexpr int kBarriers = kSelfKeys + 2 * kRows;
  static constexpr int kSharedBytes = kBarriers * 2 + kBarrierBytes;
  static_assert(kStages >= 2, "one tile is computed while the next is loaded");
  static_assert(kStages * 8 <= kBarrierBytes, "each stage has a barrier of 8 bytes");
  static_assert(kMatrix == kPanels * kPanelElements, "a tile is whole panels");
  static_assert(kSharedBytes <= 227 * kKibibyte, "compute capability 9.0 gives a block 227 KiB");
};

}  // namespace hopper

}  // namespace rse::kernels
