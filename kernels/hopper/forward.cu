// Forward attention through wgmma, compute capability 9.0a.
//
// Two warpgroups hold 64 queries each and share the tiles of 64 keys, which one thread brings by bulk copies,
// kStages deep. A tile's product with the values runs on into the next tile. Two thread blocks a
// multiprocessor (head sizes up to 64): while one waits for products, the other breaks sticks.
#include "kernels/hopper/tile.cuh"
#include "kernels/passes.h"

namespace rse::kernels {
namespace {

struct ForwardArguments {
  const void *query, *key, *value;
  const float *self_logit, *decay;
  const uint32_t *query_norm, *key_norm;
  Plan plan;
  Strided out;
  float *rem, *left, *both;
  int* extent;
  int64_t seq, blocks;
  int heads, head_dim, window;
  bool causal, self_key, shared, remainder_self;
  float skip_below;
};

struct Span {  // of keys that one side walked
  int first, end;
};

template <int D>
struct ForwardTile {
  // kStep: tiles between two barriers. Three steps: when one begins, the value product of the tile before is
  // still under way, so what is loaded then goes into the stages of the step before that.
  static constexpr int kStages = 6, kStep = 2;
  static constexpr int kMatrix = kKeys * D;  // key; value
  static constexpr int kStage = 2 * kMatrix;
  static constexpr int kPanels = D / kPanel;
  static constexpr int kQuery = kStages * kStage;  // two tiles
  static constexpr int kBarriers = kQuery + 2 * kMatrix;
  static constexpr int kShared = kBarriers * 2 + 64;
  static_assert(kStages == 3 * kStep && kMatrix == kPanels * kKeys * kPanel);
};

template <typename T, int D>
struct Block {
  using Tile = ForwardTile<D>;
  const ForwardArguments& p;
  T* stages;
  uint32_t barriers;
  const T *key, *value;  // of the document's first tile
  RowBlock at;
  int row0, reach;
  float decay;
  int loads;  // so far, of this thread block
  bool cut;   // logits may exceed kMostLogit
  float out[Tile::kPanels][32];

  // others: bytes that the same barrier is to wait for.
  __device__ void load(int load, int tile, int others = 0) {
    const int stage = load % Tile::kStages;
    const uint32_t barrier = barriers + 8 * stage, to = shared_address(stages + stage * Tile::kStage);
    constexpr int kBytes = Tile::kMatrix * 2;
    barrier_expect(barrier, 2 * kBytes + others);
    bulk_copy(to, key + static_cast<int64_t>(tile) * Tile::kMatrix, kBytes, barrier);
    bulk_copy(to + kBytes, value + static_cast<int64_t>(tile) * Tile::kMatrix, kBytes, barrier);
  }

  // The first step, and with its first tile the block's rows of query; row_tile: of all prepared tiles.
  __device__ void load_first(const TileRange<true>& tiles, int64_t row_tile) {
    constexpr int kBytes = 2 * Tile::kMatrix * 2;
    load(0, tiles.at(0), kBytes);
    bulk_copy(shared_address(stages + Tile::kQuery),
              static_cast<const T*>(p.query) + row_tile * Tile::kMatrix, kBytes, barriers);
    for (int i = 1; i < min(tiles.count, Tile::kStep); ++i) load(i, tiles.at(i));
  }

  // The products of values are left under way.
  template <bool kLeft, bool kMasked, bool kCut>
  __device__ void tile(uint32_t stage, float (&stick)[2], int first) {
    const int lane = threadIdx.x % 32, group = lane / 4, t = lane % 4;
    const RowPlace place[2] = {{row0 + group, first + 16 * t}, {row0 + group + 8, first + 16 * t}};
    float x[32], front[2][4], before[2], unused[32];
    start_logits<kLeft, kMasked>(x, place, decay, p.window, at.length);
    const uint32_t query =
        matrix_at(shared_address(stages + Tile::kQuery + threadIdx.x / 128 * Tile::kMatrix));
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      const int step = k / 4 * kKeys * kPanel * 2 + k % 4 * 32;
      wgmma_shared<T, 0, 0>(x, descriptor(query, step), descriptor(stage, step), 1);
    }
    wgmma_commit();
    wgmma_wait<0>();
    pin(x);
    pin_out();
#pragma unroll
    for (int h = 0; h < 2; ++h)
      before[h] = stick_before<kLeft>(break_row<kLeft, false, kCut>(x, h, front[h], unused), stick[h]);
    uint32_t weights[4][4];
    pack_rows<T, kLeft>(x, front, before, weights);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel)
        wgmma_registers<T, 1>(out[panel], weights[k],
                              descriptor(stage, Tile::kMatrix * 2 + panel * kKeys * kPanel * 2 + k * 2048));
    }
    wgmma_commit();
  }

  __device__ void pin_out() {
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) pin(out[panel]);
  }

  template <bool kLeft>
  __device__ void walk_tile(float (&stick)[2], int load, int first, int last_row) {
    barrier_wait(barriers + 8 * (load % Tile::kStages), load / Tile::kStages & 1);
    const int rows = at.row + uniform(threadIdx.x / 128) * kKeys;  // the warpgroup's first
    if (kLeft ? first > rows : first < rows) return;               // no key on this side
    const bool diagonal = first == rows;
    const bool border = (kLeft ? last_row - first : first + kKeys - 1 - at.row) >= p.window;
    const uint32_t stage = matrix_at(shared_address(stages + load % Tile::kStages * Tile::kStage));
    if (diagonal || border || first + kKeys > at.length) {
      tile<kLeft, true, true>(stage, stick, first);
    } else if (cut) {
      tile<kLeft, false, true>(stage, stick, first);
    } else {
      tile<kLeft, false, false>(stage, stick, first);
    }
  }

  template <bool kLeft>
  __device__ TileRange<kLeft> range() const {
    const int last_row = min(at.row + kRows, at.length) - 1;
    return {at.row, last_row,
            kLeft ? max(0, at.row - reach) : min(at.length - 1, last_row + min(reach, at.length))};
  }

  template <bool kLeft>
  __device__ void load_step(const TileRange<kLeft>& tiles, int from) {
    if (threadIdx.x != 0) return;
    for (int i = from; i < min(tiles.count, from + Tile::kStep); ++i) load(loads + i, tiles.at(i));
  }

  // load_step(tiles, 0) goes before; load_more() is called when every stage is free again.
  template <bool kLeft, typename LoadMore>
  __device__ Span walk(const TileRange<kLeft>& tiles, float (&stick)[2], LoadMore load_more) {
    const int last_row = min(at.row + kRows, at.length) - 1;
    int i = 0;
    while (i < tiles.count) {
      if (!__syncthreads_or(stick[0] >= p.skip_below || stick[1] >= p.skip_below)) break;
      // Into the stages of the step before the last, which nobody reads any more.
      load_step(tiles, i + Tile::kStep);
      const int step_end = min(tiles.count, i + Tile::kStep);
      for (; i < step_end; ++i) walk_tile<kLeft>(stick, loads + i, tiles.at(i) * kKeys, last_row);
    }
    wgmma_wait<0>();
    pin_out();
    // Copies under way when the walk ended early must have landed before their stages are used again.
    const int issued = min(tiles.count, i + Tile::kStep);
    for (int n = i; n < issued; ++n)
      barrier_wait(barriers + 8 * ((loads + n) % Tile::kStages), (loads + n) / Tile::kStages & 1);
    loads += issued;
    __syncthreads();
    load_more();
    if (i == 0) return {at.row, at.row};
    const int last = tiles.at(i - 1) * kKeys;
    return kLeft ? Span{last, last_row + 1} : Span{at.row, min(at.length, last + kKeys)};
  }
};

template <typename T, int D>
__global__ void __launch_bounds__(kThreads, D == 64 ? 2 : 1)
    forward_kernel(const ForwardArguments p, const Documents docs) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Tile = ForwardTile<D>;
  extern __shared__ __align__(1024) uint8_t raw[];
  wait_for_before();
  let_next_start();
  const int2 item = item_at(p.plan, blockIdx.x, p.blocks, p.causal);
  const RowBlock at = row_block(docs, item.x);
  if (at.row >= at.length) return;
  const int head_index = item.y, head = head_index % p.heads;
  const int lane = threadIdx.x % 32, group = lane / 4, t = lane % 4;
  const int64_t base = head_index * p.seq + at.begin;
  const int64_t first_tile = (head_index * p.blocks + item.x - at.row / kRows) * 2;
  Block<T, D> block{p,
                    reinterpret_cast<T*>(raw),
                    shared_address(raw + Tile::kBarriers * 2),
                    static_cast<const T*>(p.key) + first_tile * Tile::kMatrix,
                    static_cast<const T*>(p.value) + first_tile * Tile::kMatrix,
                    at,
                    at.row + 16 * static_cast<int>(threadIdx.x / 32),
                    reach_of(p.plan, head_index * p.blocks + item.x, p.window),
                    decay_per_token(p.decay[head]),
                    0,
                    may_exceed(p.query_norm[head_index * p.blocks + item.x], p.key_norm[head_index]),
                    {}};
  if (threadIdx.x == 0) {
    for (int s = 0; s < Tile::kStages; ++s) barrier_init(block.barriers + 8 * s, 1);
    fence_shared_writes();
  }
  __syncthreads();
  const TileRange<true> left_tiles = block.template range<true>();
  const TileRange<false> right_tiles = block.template range<false>();
  const int64_t row_tile = first_tile + at.row / kKeys + threadIdx.x / 128;
  if (threadIdx.x == 0) block.load_first(left_tiles, row_tile);
  float self[2], start[2], rem[2][2] = {};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = block.row0 + group + 8 * h;
    const OwnKey own = own_key(row < at.length ? p.self_logit[base + row] : 0.f, p.self_key);
    self[h] = own.beta;
    start[h] = row >= at.length ? 0.f : stick_start(own, p.shared, p.causal);
  }
  const auto save = [&](float* to) {  // as accumulator_offset() has it; also the rows past the document's end
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel)
      store_accumulator(to + row_tile * Tile::kMatrix + panel * kKeys * kPanel, block.out[panel]);
  };
  float stick[2] = {start[0], start[1]};
  const Span left = block.walk(left_tiles, stick, [&] {
    if (!p.causal) block.load_step(right_tiles, 0);
  });
  Span right = {at.row, at.row};
  rem[0][0] = stick[0];
  rem[1][0] = stick[1];
  if (!p.causal) {
    if (p.left != nullptr) save(p.left);
    stick[0] = start[0];
    stick[1] = start[1];
    right = block.walk(right_tiles, stick, [] {});
    rem[0][1] = stick[0];
    rem[1][1] = stick[1];
  }
  if (p.both != nullptr) save(p.both);
  // The own keys' values, all loaded before the first store: this is bound by their latency.
  uint32_t value[2][D / 8];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = (block.row0 + group + 8 * h) % kKeys;
    const T* from = static_cast<const T*>(p.value) + row_tile * Tile::kMatrix;
#pragma unroll
    for (int d = 0; d < D / 8; ++d)
      value[h][d] =
          *reinterpret_cast<const uint32_t*>(from + tile_offset<D>(column_of_key(row), 8 * d + 2 * t));
  }
  const int sides = p.causal ? 1 : 2;
  T* result = static_cast<T*>(p.out.data) + (head_index / p.heads) * p.out.batch + head * p.out.head;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = block.row0 + group + 8 * h;
    if (row >= at.length) continue;
    if (t == 0) {
      p.rem[(base + row) * sides] = rem[h][0];
      p.extent[(base + row) * sides] = max(0, row - left.first);
      if (!p.causal) {
        p.rem[(base + row) * sides + 1] = rem[h][1];
        p.extent[(base + row) * sides + 1] = max(0, right.end - 1 - row);
      }
    }
    const float own = self[h] + (p.remainder_self ? rem[h][0] + rem[h][1] : 0.f);
    T* to = result + (at.begin + row) * p.out.token + 2 * t;
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      if (8 * d >= p.head_dim) continue;
      const float2 v = unpack<T>(value[h][d]);
      const float* o = &block.out[d / 8][4 * (d % 8) + 2 * h];
      *reinterpret_cast<uint32_t*>(to + 8 * d) = pack<T>(fmaf(own, v.x, o[0]), fmaf(own, v.y, o[1]));
    }
  }
#endif  // other architectures are not launched: why_not_supported()
}

}  // namespace

template <typename T, int D>
cudaError_t launch_forward_hopper(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                                  const ForwardOutputs& outputs, const Saved& saved, cudaStream_t stream) {
  constexpr int kShared = ForwardTile<D>::kShared;
  const ForwardArguments arguments{prepared.query,    prepared.key,
                                   prepared.value,    prepared.self_logit,
                                   p.decay,           prepared.query_norm,
                                   prepared.key_norm, plan,
                                   outputs.out,       outputs.rem,
                                   saved.left,        saved.both,
                                   outputs.extent,    p.seq,
                                   num_blocks(p),     p.heads,
                                   p.head_dim,        window_of(p),
                                   p.causal,          p.self_key,
                                   p.shared,          p.remainder_self,
                                   p.skip_below};
  const auto kernel = forward_kernel<T, D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared))
    return error;
  return launch_early(p.path, kernel, static_cast<unsigned>(num_items(p)), kThreads, kShared, stream,
                      arguments, documents_of(p));
}

#define RSE_INSTANTIATE(T, D)                                                                            \
  template cudaError_t launch_forward_hopper<T, D>(const AttentionParams&, const Prepared&, const Plan&, \
                                                   const ForwardOutputs&, const Saved&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(T) RSE_INSTANTIATE(T, 64) RSE_INSTANTIATE(T, 128)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
