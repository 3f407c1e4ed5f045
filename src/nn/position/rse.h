// RSE attention as a position method (src/ops/README.md section 1): no position embedding; each head's
// learned decay is lambda = softplus(raw), raw float32 whatever the compute dtype.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "nn/position/position_method.h"
#include "ops/attention.h"

namespace rse {

class RsePosition : public PositionMethod {
 public:
  explicit RsePosition(const ModelConfig& config);
  torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                       const torch::Tensor& value, const SequenceLayout& layout) override;
  void initialize(uint64_t seed) override;
  torch::Tensor decays() const override;
  double attention_flops(int64_t length) const override;
  int64_t table_bytes(int64_t length) const override;
  std::string describe(const torch::Device& device) const override;

  // Called with each layer and what its attend() hands to the operator: query, key and value [sequences,
  // length, heads, head_dim] or [total, heads, head_dim], decay [heads]. For measurements; null: nobody.
  using Observer = std::function<void(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                                      const torch::Tensor& value, const torch::Tensor& decay)>;
  void observe(Observer observer) { observer_ = std::move(observer); }

 private:
  // lambda of one layer's heads, [heads] float32.
  torch::Tensor layer_decay(int64_t layer) const;

  int64_t layers_, heads_, head_dim_;
  DecayConfig decay_;
  AttentionOptions options_;
  Observer observer_;
  torch::Tensor raw_decay_;  // per_head [layers, heads], per_layer [layers], global [1]
};

// The raw value whose softplus is `decay` (> 0).
double inverse_softplus(double decay);

}  // namespace rse
