#include "nn/sequence_layout.h"

#include <algorithm>

#include "core/check.h"

namespace rse {
namespace {

// A device copy of host integers; pinned memory lets the copy run behind the host's back.
torch::Tensor to_device(const torch::Tensor& host, const torch::Device& device) {
  return device.is_cuda() ? host.to(device, /*non_blocking=*/true) : host;
}

torch::TensorOptions host_options(torch::ScalarType dtype, const torch::Device& device) {
  return torch::TensorOptions().dtype(dtype).pinned_memory(device.is_cuda());
}

}  // namespace

SequenceLayout make_layout(const std::vector<int32_t>& borders, const torch::Device& device,
                           int64_t attention_window) {
  RSE_ASSERT(!borders.empty() && borders.front() == 0, "borders of a layout start at 0");
  RSE_ASSERT(std::is_sorted(borders.begin(), borders.end()), "borders of a layout never decrease");
  RSE_ASSERT(attention_window >= 0, "attention window of {}", attention_window);
  SequenceLayout layout;
  layout.attention_window = attention_window;
  layout.borders.assign(borders.begin(), borders.end());
  torch::Tensor positions = torch::empty({layout.total()}, host_options(torch::kInt64, device));
  int64_t* position = positions.data_ptr<int64_t>();
  bool uniform = true;
  for (int64_t s = 0; s < layout.sequences(); ++s) {
    const int64_t length = layout.borders[s + 1] - layout.borders[s];
    for (int64_t p = 0; p < length; ++p) *position++ = p;
    layout.max_seqlen = std::max(layout.max_seqlen, length);
    uniform = uniform && length == layout.borders[1];
  }
  layout.uniform_length = uniform ? layout.max_seqlen : 0;
  torch::Tensor cu_seqlens = torch::empty({layout.sequences() + 1}, host_options(torch::kInt32, device));
  std::copy(borders.begin(), borders.end(), cu_seqlens.data_ptr<int32_t>());
  layout.cu_seqlens = to_device(cu_seqlens, device);
  layout.positions = to_device(positions, device);
  return layout;
}

}  // namespace rse
