// The model's configuration: keys under `model:`, their defaults and ranges.
//
//   model:
//     layers, width, heads, ffn_width, vocab_size, norm, embedding_norm, activation, biases, head, dropout,
//     init_std
//     position: {...}      nn/position/position_config.h
//     attention: {backend, deterministic}
//
// Errors are UserErrors with the file and line of the key (core/config_binder.h).
#pragma once

#include <cstdint>

#include "core/config_binder.h"
#include "nn/position/position_config.h"
#include "ops/attention.h"

namespace rse {

// What stands between the last norm and the tied decoder: nothing, or BERT's dense layer, GELU and norm.
enum class HeadKind { kTied, kTransform };
enum class NormPlacement { kPre, kPost };
enum class Activation { kGelu, kGeglu };

struct AttentionConfig {
  // Of rse::attention. Softmax attention always goes through LibTorch's scaled_dot_product_attention.
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
  bool biases = true;               // of all linear layers and norms; the decoder keeps its own (mlm_head.h)
  HeadKind head = HeadKind::kTied;  // learns faster in short runs than kTransform
  double dropout = 0.0;             // of the embedding and of each residual branch
  double init_std = 0.02;
  PositionConfig position;
  AttentionConfig attention;

  int64_t head_dim() const { return width / heads; }
  bool operator==(const ModelConfig&) const = default;
  // Checks across fields too: heads divide width, and the position method takes the head_dim.
  void bind(ConfigBinder& b);
};

}  // namespace rse
