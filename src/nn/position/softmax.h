// Position methods on softmax attention: none, learned (a trained table added to the embeddings), rope
// (queries and keys rotated by position).
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>

#include "nn/position/position_method.h"

namespace rse {

// No positions: attention sees a set of tokens. Base of the other two.
class SoftmaxPosition : public PositionMethod {
 public:
  explicit SoftmaxPosition(const ModelConfig& config) : width_(config.width) {}
  torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                       const torch::Tensor& value, const SequenceLayout& layout) override;
  double attention_flops(int64_t length) const override;
  std::string describe(const torch::Device& device) const override;

 private:
  int64_t width_;
};

// A table [max_positions, width], its row p added to the token at position p; sequences longer than the table
// as LearnedPositionConfig::beyond says.
class LearnedPosition : public SoftmaxPosition {
 public:
  explicit LearnedPosition(const ModelConfig& config);
  torch::Tensor embed(const torch::Tensor& hidden, const SequenceLayout& layout) override;
  void initialize(uint64_t seed) override;
  int64_t max_positions() const override { return beyond_ == BeyondTable::kError ? rows_ : 0; }

 private:
  // What is added at `positions`, int64 [n], of sequences of `lengths`, int64 [n] or []: [n, width].
  torch::Tensor rows_at(const torch::Tensor& positions, const torch::Tensor& lengths) const;

  TableInit init_;
  BeyondTable beyond_;
  double init_std_;
  int64_t rows_;  // of the table, from its start, that are used
  torch::Tensor table_;
};

// Su et al. 2021, in the layout of src/ops/README.md section 1 ("Rotation").
class RopePosition : public SoftmaxPosition {
 public:
  explicit RopePosition(const ModelConfig& config);
  torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                       const torch::Tensor& value, const SequenceLayout& layout) override;
  int64_t table_bytes(int64_t length) const override;
  std::string describe(const torch::Device& device) const override;

 private:
  int64_t head_dim_;
  double base_;
};

}  // namespace rse
