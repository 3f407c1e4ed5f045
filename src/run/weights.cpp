#include "run/weights.h"

#include "core/check.h"

namespace rse {

NamedTensors weights_of(const EncoderImpl& encoder) {
  NamedTensors all;
  for (const auto& item : encoder.named_parameters()) all.emplace_back(item.key(), item.value());
  for (const auto& item : encoder.named_buffers()) all.emplace_back(item.key(), item.value());
  return all;
}

std::vector<torch::Tensor> expect_tensors(const SafetensorsContent& content, const NamedTensors& like,
                                          const std::filesystem::path& path) {
  if (content.tensors.size() != like.size()) {
    throw_user_error("{}: {} tensors, expected {}", path.string(), content.tensors.size(), like.size());
  }
  std::vector<torch::Tensor> values;
  for (const auto& [name, tensor] : like) values.push_back(expect_tensor(content, name, tensor, path));
  return values;
}

void set_tensors(const NamedTensors& tensors, const std::vector<torch::Tensor>& values) {
  RSE_ASSERT(tensors.size() == values.size(), "{} values for {} tensors", values.size(), tensors.size());
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < tensors.size(); ++i) torch::Tensor(tensors[i].second).copy_(values[i]);
}

}  // namespace rse
