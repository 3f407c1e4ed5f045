// RSE attention: rotary positions, stick-breaking weights, learned decay (src/ops/README.md sections 1
// and 6).
//
// The same code stands behind this function and behind torch.ops.rse.attention (librse_ops.so). Invariants:
// memory is linear in seq_len; finite inputs never give NaN, nor Inf where the true result fits the dtype;
// the operator can be differentiated once (a second-order gradient is refused with an error).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#pragma GCC visibility push(default)  // librse_ops.so exports these functions (exports.map)
namespace rse {

// What a stick starts with (section 1): 1 per side, or an equal share of what the query's own key left.
enum class Mass { kPerSide, kShared };

// What becomes of the end of a stick (section 1): it is dropped, or given to the query's own value.
enum class Remainder { kDrop, kSelf };

// Which code computes. kAuto takes the fastest for the device: on the CPU the blocked SIMD kernels, on CUDA
// the first of kHopper, kPortable and kReference that takes the inputs. kReference is composed from LibTorch
// operators in chunks of queries, on any device. kPortable names the CUDA kernels for compute capability 8.0
// and newer (bfloat16 and float16 through mma.sync, and float32), kHopper those for 9.0 (bfloat16 and float16
// through wgmma).
enum class Backend { kAuto, kReference, kPortable, kHopper };

struct AttentionOptions {
  bool causal = false;
  int64_t window = 0;  // 0: none; w > 0: only keys with |i - j| < w take part, however large w is
  Mass mass = Mass::kPerSide;
  bool self_key = true;
  Remainder remainder = Remainder::kDrop;
  double rotary_base = 10000.0;  // 0: no rotation
  std::optional<double> scale;   // default 1 / sqrt(head_dim); from -1e30 to 1e30
  double skip_below = 1e-7;      // 0: every pair is computed
  bool deterministic = false;
  Backend backend = Backend::kAuto;
};

struct AttentionResult {
  torch::Tensor out;  // shape and dtype of query
  torch::Tensor rem;  // what is left of each stick: [batch, heads, seq, sides] or [total, heads, sides],
                      // float32 (float64 with float64 inputs); sides: 2 (before, after), causal 1
};

// query, key, value: [batch, seq, heads, head_dim], or with cu_seqlens [total, heads, head_dim]; unit stride
// in head_dim, otherwise any; float32, bfloat16, float16, and float64 on the CPU; head_dim a multiple of 8
// from 8 to 128; batch, seq or total, and heads below 2^31 - 128. decay: lambda >= 0, [heads], float32
// (float64 with float64 inputs); above 1e30 it counts as 1e30. cu_seqlens: int32 [documents + 1] on the
// inputs' device, from 0 to total, never decreasing. max_seqlen: the longest document, or 0 for unknown.
// borders: a host copy of cu_seqlens, which then is not read back from the device (on CUDA that waits for the
// stream, once per call and once per backward); empty: it is read. Throws UserError naming the argument, its
// value and what was expected. On CUDA nothing is checked that would wait for the stream: that decay's values
// are finite and not negative, and that borders are those of cu_seqlens, is up to the caller.
AttentionResult attention(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                          const torch::Tensor& decay, const std::optional<torch::Tensor>& cu_seqlens,
                          int64_t max_seqlen, const AttentionOptions& options,
                          const std::vector<int64_t>& borders = {});

// The share of the pairs of a query and a key of its document (causal: a key not after it) that attention()
// visits on these arguments, counted in whole tiles; 1 where nothing is skipped. It runs a forward pass and
// waits for it. Errors are those of attention().
double visited_share(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                     const torch::Tensor& decay, const std::optional<torch::Tensor>& cu_seqlens,
                     int64_t max_seqlen, const AttentionOptions& options);

// "cpu kernel (avx512)", "reference (composed LibTorch operators)": what kAuto or the forced backend resolves
// to on `device`, for the log.
std::string describe_backend(Backend backend, const torch::Device& device);

// The written names of the enumerations, for the operator's arguments and for configurations.
const std::vector<std::pair<std::string, Mass>>& mass_names();
const std::vector<std::pair<std::string, Remainder>>& remainder_names();
const std::vector<std::pair<std::string, Backend>>& backend_names();
// UserError for a name that is not listed.
Mass parse_mass(const std::string& name);
Remainder parse_remainder(const std::string& name);
Backend parse_backend(const std::string& name);
const char* to_string(Mass mass);
const char* to_string(Remainder remainder);
const char* to_string(Backend backend);

}  // namespace rse
#pragma GCC visibility pop
