// The model's configuration: keys under `model:`, their defaults and ranges.
//
//   model:
//     layers, width, heads, ffn_width, vocab_size, norm, embedding_norm, activation, dropout, init_std
//     position:
//       method, rotary_base
//       learned: {init, max_positions, beyond}
//       rse: {decay: {scope, init, value}, mass, self_key, remainder, skip_below}
//     attention: {backend, deterministic}
//
// Errors are UserErrors with the file and line of the key (core/config_binder.h).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/config_binder.h"
#include "ops/attention.h"

namespace rse {

enum class PositionKind { kLearned, kNone, kRope, kRse };
enum class TableInit { kNormal, kSinusoidal };
// What a learned table of R rows gives a sequence of more than R tokens: an error; its last row from there
// on; row position mod R; or row position * (R - 1) / (length - 1), linear between rows.
enum class BeyondTable { kError, kClamp, kTile, kInterpolate };
enum class DecayScope { kPerHead, kPerLayer, kGlobal };
enum class DecayInit { kUniform, kGeometric };

// The written names: error, clamp, tile, interpolate.
const std::vector<std::pair<std::string, BeyondTable>>& beyond_table_names();

struct LearnedPositionConfig {
  TableInit init = TableInit::kSinusoidal;  // a random start stays long on the unigram plateau
  int64_t max_positions = 512;
  BeyondTable beyond = BeyondTable::kError;
  // No key: rows that training reached, known once a model is evaluated; the others are never used. 0: all.
  int64_t trained_positions = 0;
  bool operator==(const LearnedPositionConfig&) const = default;
  void bind(ConfigBinder& b);
};

// src/ops/README.md section 1, "lambda".
struct DecayConfig {
  DecayScope scope = DecayScope::kPerHead;
  DecayInit init = DecayInit::kUniform;  // kGeometric: a slope a head, so with kPerHead only
  double value = 0.01;                   // of kUniform
  bool operator==(const DecayConfig&) const = default;
  void bind(ConfigBinder& b);
};

struct RsePositionConfig {
  DecayConfig decay;
  Mass mass = Mass::kPerSide;
  bool self_key = true;
  Remainder remainder = Remainder::kDrop;
  double skip_below = 1e-7;
  bool operator==(const RsePositionConfig&) const = default;
  void bind(ConfigBinder& b);
};

struct PositionConfig {
  PositionKind method = PositionKind::kRse;
  LearnedPositionConfig learned;
  double rotary_base = 10000.0;  // of `rope` and `rse`; 0 (rse only): no rotation
  RsePositionConfig rse;
  bool operator==(const PositionConfig&) const = default;
  void bind(ConfigBinder& b);
};

// What stands between the last norm and the tied decoder: nothing, or BERT's dense layer, GELU and norm.
enum class HeadKind { kTied, kTransform };
enum class NormPlacement { kPre, kPost };
enum class Activation { kGelu, kGeglu };

struct AttentionConfig {
  // Of rse::attention. Softmax attention is always LibTorch's scaled_dot_product_attention.
  Backend backend = Backend::kAuto;
  bool deterministic = false;
  bool operator==(const AttentionConfig&) const = default;
  void bind(ConfigBinder& b);
};

struct ModelConfig {
  int64_t vocab_size = 0;  // 0: the tokenizer's
  int64_t layers = 12;
  int64_t width = 768;
  int64_t heads = 12;
  int64_t ffn_width = 3072;
  NormPlacement norm = NormPlacement::kPre;
  bool embedding_norm = false;
  Activation activation = Activation::kGelu;
  HeadKind head = HeadKind::kTied;  // learns faster in short runs than kTransform
  double dropout = 0.0;             // of the embedding and of each residual branch
  double init_std = 0.02;
  PositionConfig position;
  AttentionConfig attention;

  int64_t head_dim() const { return width / heads; }
  bool operator==(const ModelConfig&) const = default;
  // Checks across fields too: heads divide width, head_dim is one that attention supports.
  void bind(ConfigBinder& b);
};

}  // namespace rse
