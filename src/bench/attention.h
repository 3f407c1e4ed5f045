// rse-bench attention: rse::attention against LibTorch's scaled_dot_product_attention, interleaved in one
// process.
//
// Cases: SDPA (no positions at all; on CUDA in 16 bits cuDNN's and FlashAttention's, each forced), RSE dense
// (skip_below = 0) and RSE with the default skip_below, rotation included; each forward without gradients,
// backward, and forward + backward. Every round times each case once, starting with another one. Inputs are
// standard normal, which exhausts sticks within about 200 keys: skipped speeds on them flatter, and the
// output says so; --run takes them from every layer of a trained model. The share of pairs that each case
// computed stands beside it.
//
// Before a speed is printed, output and every gradient of some heads are compared with the float64 reference
// backend on the same inputs; a case beyond the bounds of src/ops/README.md section 4 gets no speed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rse {

struct AttentionBenchOptions {
  std::vector<int64_t> seq_lens = {1024, 2048, 4096};
  int64_t batch = 1;
  int64_t heads = 12;
  int64_t head_dim = 64;
  int64_t repeats = 15;
  int64_t threads = 0;            // 0: as LibTorch chose
  std::string device = "cpu";     // or cuda
  std::string dtype = "float32";  // float32, bfloat16, float16
  std::string backend = "auto";   // of the RSE cases: auto, reference, portable, hopper
  bool causal = false;
  bool self_key = true;
  double rotary_base = 10000.0;  // 0: no rotation
  // lambda of the first and the last head, geometric between, or 0 for all; the default is what trained
  // models end with.
  std::vector<double> decay = {0.0002, 3.0};
  uint64_t seed = 1;
  // Queries, keys, values and decays of every layer of a trained run's RSE arm on the token file `data`, in
  // place of random numbers; heads, head_dim and decay are the model's.
  std::string run, data;
  std::string json;  // file to write the results to; empty: none
};

// Prints a table; false if a case missed its bound. UserError for options that make no sense.
bool run_attention_bench(AttentionBenchOptions options);

// What each backend resolves to on the devices of this machine, one a line.
std::string list_attention_backends();

}  // namespace rse
