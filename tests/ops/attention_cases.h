// One attention call with random inputs, which a backend and the oracle compute, and the errors between the
// two.
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "ops/attention.h"
#include "tests/ops/oracle.h"

namespace rse {

// A backend under test, its device, and the dtypes that it takes.
struct Target {
  std::string name;
  torch::DeviceType device;
  Backend backend;
  std::vector<torch::ScalarType> dtypes = {torch::kFloat32, torch::kFloat64, torch::kBFloat16,
                                           torch::kFloat16};  // tests of one dtype use the first
};
inline void PrintTo(const Target& target, std::ostream* stream) { *stream << target.name; }

enum class InputLayout {
  kContiguous,
  kFusedQkv,     // query, key and value are slices of one tensor [..., 3, heads, head_dim]
  kHeadsFirst,   // stored as [batch, heads, seq_len, head_dim]; not for packed calls
  kGapsInHeads,  // every second head of a tensor with twice as many
};

struct Case {
  int64_t batch = 1;             // 1 in a packed call
  std::vector<int64_t> borders;  // {0, seq_len}, or the borders of the documents of a packed call
  bool packed = false;
  int64_t heads = 2;
  int64_t head_dim = 8;
  AttentionOptions options;
  torch::ScalarType dtype = torch::kFloat32;
  InputLayout layout = InputLayout::kContiguous;
  double decay_from = 0.0, decay_to = 0.4;  // spread evenly over the heads
  double query_scale = 1.5;                 // makes logits of about this size
  uint64_t seed = 1;
};

// Leaves NaN in the memory that the device's next tensors get, so that a value that a kernel forgets to write
// shows. On the CPU it does nothing.
void poison_free_memory(torch::DeviceType device);

// The inputs as the operator takes them, on the target's device, and the gradients of its outputs.
struct CaseTensors {
  torch::Tensor query, key, value, decay;  // leaves that require a gradient
  std::optional<torch::Tensor> cu_seqlens;
  torch::Tensor grad_out, grad_rem;
};

CaseTensors make_tensors(const Case& c, const torch::Device& device);

// The relative error ||x - ref|| / ||ref|| of each output and gradient.
struct RelativeErrors {
  double out = 0, rem = 0, query = 0, key = 0, value = 0, decay = 0;
  void keep_worst(const RelativeErrors& other);
};

// Outputs and gradients of one call, float64 on the CPU, with the shapes that the oracle gives them.
struct CaseResults {
  torch::Tensor out, rem, query, key, value, decay;
};

// What the target, and what the oracle, computes of the tensors of a case. The oracle takes them as they are,
// rounded to the case's dtype or not; running: see OracleInputs.
CaseResults results_of(const Case& c, const CaseTensors& t, const Target& target);
CaseResults results_of_oracle(const Case& c, const CaseTensors& t, bool running = false);

RelativeErrors errors_between(const CaseResults& results, const CaseResults& expected);

// Computes the errors of the case against the oracle on the same rounded inputs.
RelativeErrors compare_with_oracle(const Case& c, const Target& target);

// Returns the bounds of src/ops/README.md section 4, and 1e-10 throughout for float64.
RelativeErrors bounds_of(torch::ScalarType dtype);

void expect_within(const RelativeErrors& errors, const RelativeErrors& bounds);

// Runs compare_with_oracle and expects every error within bounds_of(c.dtype).
RelativeErrors expect_matches_oracle(const Case& c, const Target& target);

// Returns all combinations of causal, mass, self_key, remainder, window (0 or `window`) and rotation.
std::vector<AttentionOptions> all_modes(int64_t window);

// Describes a case: "causal shared no-self window=3 ..."
std::string describe(const Case& c);

double relative_error(const torch::Tensor& x, const torch::Tensor& reference);

}  // namespace rse
