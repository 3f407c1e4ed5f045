#include "nn/objective.h"

#include "nn/mlm_loss.h"

namespace rse {

torch::Tensor MaskedLmObjective::loss(EncoderImpl& model, const MaskedBatch& batch, double share,
                                      const std::optional<DropoutKey>& dropout_key) const {
  const torch::Tensor logits =
      model.forward(batch.input_ids, batch.layout, batch.target_positions, dropout_key);
  return masked_lm_nll(logits, batch.target_ids).sum() * share;
}

}  // namespace rse
