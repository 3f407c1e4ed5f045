// A batch of packed, masked sequences in host memory. It has no tensors, as the data layer does without
// LibTorch.
#pragma once

#include <cstdint>
#include <vector>

namespace rse {

struct TokenBatch {
  std::vector<int64_t> input_ids;         // [total], masked
  std::vector<int32_t> borders;           // [sequences + 1], from 0 to total; sequences never share attention
  std::vector<int64_t> target_positions;  // [targets], indices into input_ids, increasing
  std::vector<int64_t> target_ids;        // [targets], the tokens that stood there
  std::vector<int64_t> target_documents;  // [targets], document of each target, by which evaluation pairs

  int64_t total() const { return static_cast<int64_t>(input_ids.size()); }
  int64_t targets() const { return static_cast<int64_t>(target_ids.size()); }
};

}  // namespace rse
