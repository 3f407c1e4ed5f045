// The masked-language-model loss.
#pragma once

#include <torch/torch.h>

namespace rse {

// logits: [targets, vocab] of any floating dtype; target_ids: int64 [targets]. Returns the negative
// log-likelihood of each target in nats, [targets] float32 (float64 for float64 logits), computed in that
// dtype from the logits as they are. Works through the rows in blocks, so no wide copy of the logits is ever
// made; differentiable once. The batch's loss is the sum, divided by the number of targets of the whole
// update.
torch::Tensor masked_lm_nll(const torch::Tensor& logits, const torch::Tensor& target_ids);

// Rows of logits that masked_lm_nll() widens at a time: about 2^25 elements, 128 MiB in float32.
int64_t nll_rows_per_block(int64_t vocab);

}  // namespace rse
