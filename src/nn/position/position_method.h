// A position method: everything in which the arms of a comparison differ. The encoder knows only this
// interface; a new method is one new class and one line in make_position_method().
//
// Order of calls: make_position_method() -> initialize() -> in each forward pass embed() once, attend() once
// a layer. Parameters registered here are the "position method's own" in reports; raw decays among them
// get their own optimizer group (parameter_role(), src/ops/README.md section 1). Nothing in embed() or
// attend() waits for the device.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>

#include "nn/model_config.h"
#include "nn/sequence_layout.h"

namespace rse {

class PositionMethod : public torch::nn::Module {
 public:
  // hidden: token embeddings [total, width]; returns them with what the method adds (default: unchanged).
  virtual torch::Tensor embed(const torch::Tensor& hidden, const SequenceLayout& layout);

  // query, key, value: [total, heads, head_dim]; returns the attention output of the same shape and dtype.
  virtual torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                               const torch::Tensor& value, const SequenceLayout& layout) = 0;

  // Sets the method's own parameters from (seed, parameter name); default: it has none.
  virtual void initialize(uint64_t seed);

  // Longest sequence that the method can take; 0: no limit.
  virtual int64_t max_positions() const { return 0; }

  // Decay in effect, [layers, heads] float32 on the CPU; undefined where the method has none. Waits for the
  // device.
  virtual torch::Tensor decays() const { return {}; }

  // Multiply-adds times two of one layer's attention products for one sequence of `length`, forward.
  virtual double attention_flops(int64_t length) const = 0;

  // Bytes of tables that are computed, not trained, once sequences of `length` were seen.
  virtual int64_t table_bytes(int64_t length) const;

  // "softmax (scaled_dot_product_attention)" or the RSE backend in use on `device`, for the log.
  virtual std::string describe(const torch::Device& device) const = 0;
};

std::shared_ptr<PositionMethod> make_position_method(const ModelConfig& config);

}  // namespace rse
