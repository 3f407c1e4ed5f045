// How much memory softmax attention takes (nn/softmax_attention.h), for the position methods that use it.
#pragma once

#include <cstdint>

#include "nn/memory_terms.h"

namespace rse {

// Of softmax_attention() in one layer without an attention window. width: of all heads together. rotated: query
// and key went through rotate(). biased: the logits get a bias whose parameter is trained.
AttentionMemory softmax_attention_memory(const BatchShape& shape, int64_t heads, int64_t width, bool rotated,
                                         bool biased);

}  // namespace rse
