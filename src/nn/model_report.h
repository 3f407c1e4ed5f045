// What a model costs, known before it trains (src/eval/README.md section 1): parameters by group, tables,
// FLOP, state. What a step takes at its peak is in nn/memory_estimate.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/encoder.h"

namespace rse {

// What the costs depend on beside the model.
struct ReportSettings {
  int64_t seq_len = 512;
  double target_share = 0.15;  // targets per token
};

struct ParameterGroup {
  std::string name;
  int64_t parameters = 0;
};

struct ModelReport {
  // "embedding", "attention", "ffn", "head", "norms and biases", "position", "decay"; each parameter in one
  // of them, empty groups left out. The position method's own are "position" and "decay" together.
  std::vector<ParameterGroup> groups;
  int64_t parameters = 0;  // trainable, total
  int64_t position_parameters = 0;
  int64_t table_bytes = 0;  // computed tables and buffers

  // Training FLOPs per token, forward and backward = 3 x forward:
  //   3 x (layers x (2 x (4 width^2 + f width ffn_width) + attention(seq_len) / seq_len)
  //        + target_share x 2 x (width^2 + width vocab_size))          f: 2 GELU, 3 GeGLU
  // attention(n): PositionMethod::attention_flops, every pair counted. Look-ups, norms and element-wise work
  // are left out.
  double flop_per_token = 0;
  std::string flop_formula;  // the same with the model's numbers in it

  int64_t state_bytes = 0;  // weights, gradients, and AdamW's two moments, all float32
};

ModelReport report_model(const EncoderImpl& encoder, const ReportSettings& settings);

}  // namespace rse
