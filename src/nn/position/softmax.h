// Softmax attention without a bias: the base of the methods `none`, `learned` and `rope`.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>

#include "nn/model_config.h"
#include "nn/position/position_method.h"

namespace rse {

class SoftmaxPosition : public PositionMethod {
 public:
  explicit SoftmaxPosition(const ModelConfig& model) : width_(model.width), heads_(model.heads) {}
  torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                       const torch::Tensor& value, const SequenceLayout& layout) override;
  double attention_flops(int64_t length) const override;
  AttentionMemory memory(const BatchShape& shape) const override;
  std::string describe(const torch::Device& device) const override;

 private:
  int64_t width_, heads_;
};

}  // namespace rse
