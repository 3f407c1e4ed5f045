// A model and batches that are small enough for unit tests.
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "core/random.h"
#include "nn/dropout.h"
#include "nn/encoder.h"
#include "nn/position/learned.h"
#include "nn/position/rse.h"

namespace rse {

inline const std::vector<std::string> kAllMethods = PositionConfig().method_names();

inline ModelConfig small_config(const std::string& method) {
  ModelConfig config;
  config.vocab_size = 40;
  config.layers = 2;
  config.width = 32;
  config.heads = 2;
  config.ffn_width = 48;
  config.init_std = 0.1;
  config.position.method = method;
  config.position.keys<LearnedPositionConfig>().max_positions = 24;
  config.position.keys<RsePositionConfig>().skip_below = 0.0;
  return config;
}

inline Encoder small_encoder(const ModelConfig& config, uint64_t seed = 3,
                             torch::ScalarType dtype = torch::kFloat32) {
  Encoder encoder(config);
  initialize_parameters(*encoder, seed);
  encoder->to(dtype);
  return encoder;
}

// Returns `count` token ids of the small vocabulary, drawn from stream `key`.
inline torch::Tensor token_ids(int64_t count, uint64_t key) {
  torch::Tensor ids = torch::empty({count}, torch::kInt64);
  for (int64_t i = 0; i < count; ++i) {
    ids[i] = static_cast<int64_t>(uniform_below(random_bits(key, static_cast<uint64_t>(i))[0], 40));
  }
  return ids;
}

// The elements that dropout() keeps on the CPU, a function of its arguments alone: element i takes draw i of
// the stream of (seed, micro-batch, layer, site), four draws per random_bits().
inline torch::Tensor kept_by_dropout(at::IntArrayRef sizes, double rate, const DropoutKey& key, int64_t layer,
                                     DropoutSite site) {
  const uint64_t place = mix_key(static_cast<uint64_t>(layer), static_cast<uint64_t>(site));
  const uint64_t stream = mix_key(mix_key(mix_key(key.seed, "dropout"), key.micro_batch), place);
  torch::Tensor kept = torch::empty(sizes, torch::kBool);
  bool* const elements = kept.data_ptr<bool>();
  for (int64_t i = 0; i < kept.numel(); ++i) {
    elements[i] = uniform01(random_bits(stream, static_cast<uint64_t>(i / 4))[i % 4]) >= rate;
  }
  return kept;
}

inline double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a.to(torch::kFloat64) - b.to(torch::kFloat64)).abs().max().item<double>();
}

}  // namespace rse
