// What a position method states about memory, and the shape of a batch that it depends on (nn/memory_estimate.h
// adds everything up).
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

namespace rse {

// A named share of memory, such as one tensor of every layer.
struct MemoryTerm {
  std::string_view name;  // a literal
  double bytes = 0;
};

inline double sum_of(const std::vector<MemoryTerm>& terms) {
  return std::accumulate(terms.begin(), terms.end(), 0.0,
                         [](double sum, const MemoryTerm& term) { return sum + term.bytes; });
}

// One micro-batch as attention sees it.
struct BatchShape {
  std::vector<int64_t> lengths;               // tokens of each sequence
  torch::ScalarType dtype = torch::kFloat32;  // of query, key and value: bfloat16 under autocast
  torch::Device device = torch::Device(torch::kCPU);

  int64_t tokens() const { return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}); }
  int64_t longest() const { return lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end()); }
  bool uniform() const {
    return std::all_of(lengths.begin(), lengths.end(), [&](int64_t length) { return length == lengths[0]; });
  }
  // Bytes of one element of `dtype`.
  double element() const { return static_cast<double>(c10::elementSize(dtype)); }
};

// Attention of one layer, from the projected query, key and value to the input of the output projection.
struct AttentionMemory {
  std::vector<MemoryTerm> kept;  // by forward for backward
  double workspace = 0;          // what backward works in beside the gradients of query, key and value
};

}  // namespace rse
