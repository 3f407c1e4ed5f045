#include "bench/trained.h"

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "nn/autocast.h"
#include "run/trained_run.h"

namespace rse {
namespace {

constexpr double kMasked = 0.15;

const ArmConfig& rse_arm(const TrainedRun& run) {
  const auto& arms = run.config.arms;
  const auto found = std::find_if(arms.begin(), arms.end(),
                                  [](const ArmConfig& arm) { return arm.model.position.method == "rse"; });
  if (found == arms.end()) throw_user_error("{}: no arm with position.method rse", run.folder.string());
  return *found;
}

// int64 [batch * seq] on the CPU.
torch::Tensor read_windows(const TokenFile& file, int64_t batch, int64_t seq) {
  torch::Tensor tokens = torch::empty({batch * seq}, torch::kInt64);
  const auto length = static_cast<uint64_t>(seq);
  int64_t found = 0;
  for (uint64_t document = 0; document < file.documents() && found < batch; ++document) {
    for (uint64_t at = 0; at + length <= file.document_length(document) && found < batch; at += length)
      file.read(file.document_begin(document) + at, length, tokens.data_ptr<int64_t>() + found++ * seq);
  }
  if (found < batch) {
    throw_user_error("--data: {}: {} windows of {} tokens within a document, expected {} (--batch)",
                     file.path().string(), found, seq, batch);
  }
  return tokens;
}

Encoder load_model(const TrainedRun& run, const TokenFile& file, const torch::Device& device) {
  const ArmConfig& arm = rse_arm(run);
  ModelConfig model = arm.model;
  model.vocab_size = file.vocab_size();  // the tokenizer is the run's
  return load_encoder(run, arm.name, run.config.base.train.seeds.front(), model, device);
}

}  // namespace

std::vector<BenchInputs> trained_inputs(AttentionBenchOptions& options, int64_t seq, torch::ScalarType type,
                                        const torch::Device& device) {
  const torch::NoGradGuard no_grad;
  const TrainedRun run = open_trained_run(options.run, std::nullopt);
  const TokenFile file = open_token_file(options.data, "--data");
  check_same_tokenizer(run, file);
  Encoder encoder = load_model(run, file, device);
  torch::manual_seed(options.seed);
  torch::Tensor tokens = read_windows(file, options.batch, seq);
  tokens.masked_fill_(torch::rand(tokens.sizes()) < kMasked, kMaskId);

  std::vector<BenchInputs> layers;
  const bool observed =
      encoder->position().observe([&](int64_t, const torch::Tensor& query, const torch::Tensor& key,
                                      const torch::Tensor& value, const torch::Tensor& decay) {
        const auto leaf = [&](const torch::Tensor& x) { return x.to(type).clone().requires_grad_(true); };
        layers.push_back({leaf(query), leaf(key), leaf(value), decay.clone().requires_grad_(true),
                          torch::randn(query.sizes()).to(type).to(device)});
      });
  RSE_ASSERT(observed, "method rse without rse::attention");
  if (options.batch * seq > std::numeric_limits<int32_t>::max()) {
    throw_user_error("--batch: {} windows of {} tokens, expected fewer than 2^31 tokens", options.batch, seq);
  }
  std::vector<int32_t> borders;
  for (int64_t n = 0; n <= options.batch; ++n) borders.push_back(static_cast<int32_t>(n * seq));
  {
    const Bf16Autocast autocast(device, type == torch::kBFloat16);
    encoder(tokens.to(device), make_layout(borders, device),
            torch::zeros({1}, torch::dtype(torch::kInt64).device(device)));
  }
  options.heads = layers.front().query.size(2);
  options.head_dim = layers.front().query.size(3);
  return layers;
}

}  // namespace rse
