#include "eval/device_batch.h"

#include <algorithm>
#include <vector>

namespace rse {
namespace {

torch::Tensor copy_of(const std::vector<int64_t>& values, const torch::Device& device) {
  const auto options = torch::TensorOptions().dtype(torch::kInt64).pinned_memory(device.is_cuda());
  torch::Tensor host = torch::empty({static_cast<int64_t>(values.size())}, options);
  std::copy(values.begin(), values.end(), host.data_ptr<int64_t>());
  return host.to(device, /*non_blocking=*/true);
}

}  // namespace

DeviceBatch to_device(const TokenBatch& batch, const torch::Device& device, int64_t attention_window) {
  return {copy_of(batch.input_ids, device), copy_of(batch.target_positions, device),
          copy_of(batch.target_ids, device), make_layout(batch.borders, device, attention_window)};
}

}  // namespace rse
