// What training minimises: the masked-language-model objective. Other objectives on the encoder's hidden
// states belong beside it.
#pragma once

#include <torch/torch.h>

#include <optional>

#include "nn/dropout.h"
#include "nn/encoder.h"
#include "nn/sequence_layout.h"

namespace rse {

// A batch as the objective needs it, on the model's device.
struct MaskedBatch {
  const torch::Tensor& input_ids;  // int64 [total], targets masked
  const SequenceLayout& layout;
  const torch::Tensor& target_positions;  // int64 [targets], indices into total
  const torch::Tensor& target_ids;        // int64 [targets]
};

class MaskedLmObjective {
 public:
  // share * (sum over the targets of their negative log-likelihood in nats), a differentiable scalar of the
  // loss's dtype (mlm_loss.h). share: 1 / targets of the whole update, so that the losses of its
  // micro-batches add up to the update's mean.
  torch::Tensor loss(EncoderImpl& model, const MaskedBatch& batch, double share,
                     const std::optional<DropoutKey>& dropout_key) const;
};

}  // namespace rse
