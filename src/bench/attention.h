// rse-bench attention: rse::attention against LibTorch's scaled_dot_product_attention, interleaved in one
// process.
//
// The cases are SDPA (without positions; on CUDA in 16 bits cuDNN's and FlashAttention's, each forced), RSE
// dense (skip_below = 0) and RSE with the default skip_below, both with rotation. Each is timed forward
// without gradients, backward, and forward + backward; every round times each case once and starts with
// another one. Inputs are standard normal numbers, which exhaust sticks within about 200 keys: speeds with
// skipping flatter on them, and the output says so; --run takes the inputs from every layer of a trained
// model. The share of pairs that each case computed stands beside its speed.
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
  // lambda of the first and the last head, geometric between them, or 0 for all heads; by default about what
  // trained models end with.
  std::vector<double> decay = {0.0002, 3.0};
  uint64_t seed = 1;
  // In place of random numbers, queries, keys, values and decays of every layer of a trained run's RSE arm,
  // reading the token file `data`; heads, head_dim and decay are then the model's.
  std::string run, data;
  std::string json;  // file that the results are written to; empty: none
};

// Prints a table; returns false where a case missed its bound. UserError names the option that makes no
// sense.
bool run_attention_bench(AttentionBenchOptions options);

// What each backend resolves to on the devices of this machine, one per line.
std::string list_attention_backends();

}  // namespace rse
