// A position method at work: everything in which the arms of a comparison differ. The encoder knows only this
// interface; how a method is configured and listed is in nn/position/position_config.h.
//
// Order of calls: make_position_method() -> initialize() -> in each forward pass embed() once, attend() once
// per layer. Parameters registered here are the "position method's own" in reports; raw decays among them
// get their own optimizer group (nn/position/decay.h). Nothing in embed() or attend() waits for the device.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "nn/memory_terms.h"
#include "nn/model_config.h"
#include "nn/sequence_layout.h"

namespace rse {

// Is called with each layer and what a method's attend() hands to rse::attention: query, key and value
// [sequences, length, heads, head_dim] or [total, heads, head_dim], decay [heads].
using AttentionObserver =
    std::function<void(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                       const torch::Tensor& value, const torch::Tensor& decay)>;

class PositionMethod : public torch::nn::Module {
 public:
  // hidden: token embeddings [total, width]; returns them with what the method adds (default: unchanged).
  virtual torch::Tensor embed(const torch::Tensor& hidden, const SequenceLayout& layout);

  // query, key, value: [total, heads, head_dim]; returns the attention output of the same shape and dtype.
  virtual torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                               const torch::Tensor& value, const SequenceLayout& layout) = 0;

  // Sets the method's own parameters from (seed, parameter name); default: it has none.
  virtual void initialize(uint64_t seed);

  // Decay in effect, [layers, heads] float32 on the CPU; undefined where the method has none. Waits for the
  // device.
  virtual torch::Tensor decays() const { return {}; }

  // FLOPs of the attention products of one layer for one sequence of `length`, forward: multiply-adds times
  // two.
  virtual double attention_flops(int64_t length) const = 0;

  // Bytes of tables that are computed, not trained, once sequences of `length` were seen.
  virtual int64_t table_bytes(int64_t length) const;

  // What attend() keeps and works in, in one layer, the storage of query, key and value among it where it stays.
  virtual AttentionMemory memory(const BatchShape& shape) const = 0;

  // The attention that is used on `device`, for the log: "softmax (scaled_dot_product_attention)".
  virtual std::string describe(const torch::Device& device) const = 0;

  // For measurements of rse::attention. Returns false where the method does not use that operator.
  virtual bool observe(AttentionObserver observer);
};

// The method that model.position names.
std::shared_ptr<PositionMethod> make_position_method(const ModelConfig& model);

// attention_flops() of two products, scores and weights times values, over every pair of tokens; width: of
// all heads together.
double all_pairs_flops(int64_t length, int64_t width);

}  // namespace rse
