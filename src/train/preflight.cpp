#include "train/preflight.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "core/check.h"
#include "core/logging.h"
#include "eval/validation.h"
#ifdef RSE_WITH_CUDA
#include "kernels/device_info.h"
#endif

namespace rse {
namespace {

constexpr double kFloat = 4;            // bytes of a float32
constexpr double kBatchesInMemory = 2;  // one in use, and at least one ahead

// Matrices, embeddings and what the position method has; biases and norms are small.
double least_parameters(const ModelConfig& model) {
  const auto width = static_cast<double>(model.width);
  const double ffn_matrices = model.activation == Activation::kGelu ? 2 : 3;
  return width * static_cast<double>(model.vocab_size) +
         static_cast<double>(model.position.active().parameters(model)) +
         static_cast<double>(model.layers) *
             (4 * width * width + ffn_matrices * width * static_cast<double>(model.ffn_width));
}

// Bytes that backward needs of each token and layer, at least. element: of the compute dtype.
double least_kept(const ModelConfig& model, Recompute recompute, double element) {
  const auto width = static_cast<double>(model.width);
  switch (recompute) {
    case Recompute::kNone:
      return element * (4 * width + static_cast<double>(model.ffn_width));
    case Recompute::kFfn:
      return element * 4 * width;
    case Recompute::kLayer:
      return kFloat * width;  // the residual stream
  }
  RSE_ASSERT(false, "recompute {}", static_cast<int>(recompute));
}

// Tokens of the smallest micro-batch that the settings can give.
double least_tokens(const RunSettings& base) {
  const int64_t sequence = base.data.packing == Packing::kPacked ? base.data.seq_len : base.data.min_tokens;
  return static_cast<double>(base.train.batch_size) * static_cast<double>(sequence);
}

int64_t device_memory_bytes([[maybe_unused]] const torch::Device& device) {
#ifdef RSE_WITH_CUDA
  kernels::DeviceInfo info;
  if (device.is_cuda() && kernels::device_info(device.index(), &info) == cudaSuccess)
    return info.memory_bytes;
#endif
  return std::numeric_limits<int64_t>::max();
}

void expect_memory(const RunConfig& config, double need, int64_t there, const char* whose) {
  if (need <= static_cast<double>(there)) return;
  const TrainConfig& train = config.base.train;
  throw_user_error(
      "{}: model, train.batch_size '{}', train.accumulation '{}': {} arms x {} seeds need at least {} of {} "
      "memory, expected at most {}",
      config.source.string(), train.batch_size, train.accumulation, config.arms.size(), train.seeds.size(),
      format_bytes(need), whose, format_bytes(static_cast<double>(there)));
}

void check_targets(const RunConfig& config, const TokenFile& valid_file) {
  const RunSettings& base = config.base;
  const double probability = base.data.mask.probability;
  const double expected = probability * static_cast<double>(base.data.seq_len) *
                          static_cast<double>(base.train.update_sizes().at(0));
  if (expected < 1) {
    spdlog::warn(
        "data.mask.probability: '{}': an update has {:.2g} targets on average, or fewer: many will have none "
        "and learn nothing (their loss is written as 0)",
        probability, expected);
  }
  const EvaluationSet set = make_validation_set(valid_file, base.validation, base.data.seq_len);
  for (int64_t piece = 0; piece < set.size(); ++piece) {
    const auto seed = static_cast<uint64_t>(base.validation.seed);
    if (set.batch(base.validation_mask(), seed, piece, 1, set.piece_tokens()).targets() > 0) return;
  }
  throw_user_error(
      "{}: {}: '{}': no target in {} validation pieces of {} tokens of {}; "
      "expected a higher one, or more text",
      config.source.string(), base.validation_mask_key(), base.validation_mask().probability, set.size(),
      set.piece_tokens(), valid_file.path().string());
}

}  // namespace

MemoryNeed least_memory(const RunConfig& config) {
  const RunSettings& base = config.base;
  const double element = base.train.precision == Precision::kBf16 ? 2 : kFloat;
  const double tokens = least_tokens(base);
  MemoryNeed need;
  double largest = 0;
  for (const ArmConfig& arm : config.arms) {
    const double parameters = least_parameters(arm.model);
    need.state += 3 * kFloat * parameters * static_cast<double>(base.train.seeds.size());
    largest = std::max(largest, parameters);
    need.activations = std::max(need.activations, tokens * static_cast<double>(arm.model.layers) *
                                                      least_kept(arm.model, base.train.recompute, element));
  }
  need.state += kFloat * largest;
  need.batches = kBatchesInMemory * static_cast<double>(base.train.accumulation) * tokens * sizeof(int64_t);
  return need;
}

int64_t host_memory_bytes() {
  int64_t bytes = static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    if (int64_t limit = 0; file >> limit) bytes = std::min(bytes, limit);  // the file may say "max"
  }
  return bytes;
}

void check_before_start(const RunConfig& config, const TokenFile& valid_file, const torch::Device& device) {
  const MemoryNeed need = least_memory(config);
  const double on_device = need.state + need.activations;
  if (device.is_cuda()) {
    expect_memory(config, on_device, device_memory_bytes(device), "device");
    expect_memory(config, need.batches, host_memory_bytes(), "host");
  } else {
    expect_memory(config, on_device + need.batches, host_memory_bytes(), "host");
  }
  check_targets(config, valid_file);
}

}  // namespace rse
