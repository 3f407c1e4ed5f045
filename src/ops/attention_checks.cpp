#include "ops/attention_checks.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace rse::ops {
namespace {

using torch::Tensor;

// Text of what messages show. It is put together without streams: in a process that brings another C++
// runtime, as Python with LibTorch does, a stream can find that runtime's facets and crash (exports.map).
std::string text(const c10::SymInt& size) {
  const std::optional<int64_t> number = size.maybe_as_int();
  return number ? fmt::format("{}", *number) : size.toSymNodeImplUnowned()->str();
}

std::string text(c10::SymIntArrayRef sizes) {
  std::string list;
  for (const c10::SymInt& size : sizes) list += (list.empty() ? "" : ", ") + text(size);
  return "[" + list + "]";
}

const char* text(torch::ScalarType dtype) { return torch::toString(dtype); }

bool same_sizes(const Tensor& a, const Tensor& b) {
  const auto sizes_a = a.sym_sizes(), sizes_b = b.sym_sizes();
  return sizes_a.size() == sizes_b.size() && std::equal(sizes_a.begin(), sizes_a.end(), sizes_b.begin());
}

void check_given(const char* caller, const char* name, const Tensor& x) {
  if (!x.defined()) throw_user_error("{}: {} is None, expected a tensor", caller, name);
}

void check_query(const Tensor& query, bool packed) {
  const int64_t dims = packed ? 3 : 4;
  if (query.dim() != dims) {
    throw_user_error("attention: query has shape {}, expected {}", text(query.sym_sizes()),
                     packed ? "[total, heads, head_dim] with cu_seqlens"
                            : "[batch, seq, heads, head_dim] without cu_seqlens");
  }
  const auto dtype = query.scalar_type();
  if (dtype != torch::kFloat32 && dtype != torch::kBFloat16 && dtype != torch::kFloat16 &&
      dtype != torch::kFloat64) {
    throw_user_error("attention: query has dtype {}, expected float32, bfloat16, float16 or float64",
                     text(dtype));
  }
  const int64_t head_dim = query.sym_size(dims - 1).guard_int(__FILE__, __LINE__);
  if (head_dim < 8 || head_dim > 128 || head_dim % 8 != 0) {
    throw_user_error("attention: head_dim is {}, expected a multiple of 8 from 8 to 128", head_dim);
  }
  if (query.sym_size(dims - 2) < 1) {
    throw_user_error("attention: query has shape {}, expected at least one head", text(query.sym_sizes()));
  }
}

void check_like_query(const char* name, const Tensor& x, const Tensor& query) {
  if (!same_sizes(x, query)) {
    throw_user_error("attention: {} has shape {}, expected query's {}", name, text(x.sym_sizes()),
                     text(query.sym_sizes()));
  }
  if (x.scalar_type() != query.scalar_type()) {
    throw_user_error("attention: {} has dtype {}, expected query's {}", name, text(x.scalar_type()),
                     text(query.scalar_type()));
  }
}

void check_layout(const char* name, const Tensor& x, const Tensor& query) {
  if (x.device() != query.device()) {
    throw_user_error("attention: {} is on {}, expected query's device {}", name, x.device().str(),
                     query.device().str());
  }
  if (x.layout() != torch::kStrided) {
    throw_user_error("attention: {} is sparse or of another layout, expected a strided tensor", name);
  }
}

void check_unit_stride(const char* name, const Tensor& x) {
  if (x.sym_numel() != 0 && x.sym_stride(-1) != 1) {
    throw_user_error("attention: {} has strides {}, expected stride 1 in head_dim (call .contiguous() first)",
                     name, text(x.sym_strides()));
  }
}

void check_decay(const Tensor& decay, const Tensor& query) {
  const auto heads = query.sym_size(query.dim() - 2);
  if (decay.dim() != 1 || decay.sym_size(0) != heads) {
    throw_user_error("attention: decay has shape {}, expected [heads] = [{}]", text(decay.sym_sizes()),
                     text(heads));
  }
  const auto expected = query.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  if (decay.scalar_type() != expected) {
    throw_user_error("attention: decay has dtype {}, expected {} with a query of {}",
                     text(decay.scalar_type()), text(expected), text(query.scalar_type()));
  }
}

void check_cu_seqlens(const Tensor& cu_seqlens) {
  if (cu_seqlens.dim() != 1 || cu_seqlens.sym_size(0) < 2) {
    throw_user_error(
        "attention: cu_seqlens has shape {}, expected [documents + 1] with at least one document",
        text(cu_seqlens.sym_sizes()));
  }
  if (cu_seqlens.scalar_type() != torch::kInt32) {
    throw_user_error("attention: cu_seqlens has dtype {}, expected int32", text(cu_seqlens.scalar_type()));
  }
}

void check_options(int64_t max_seqlen, const AttentionOptions& options) {
  if (max_seqlen < 0) {
    throw_user_error("attention: max_seqlen is {}, expected 0 (unknown) or the longest document's length",
                     max_seqlen);
  }
  if (options.window < 0) {
    throw_user_error("attention: window is {}, expected 0 (none) or a positive distance", options.window);
  }
  const double base = options.rotary_base;
  if (!(base == 0 || (base > 1 && std::isfinite(base)))) {
    throw_user_error("attention: rotary_base is {}, expected 0 (no rotation) or a finite number above 1",
                     base);
  }
  if (options.scale && !(std::abs(*options.scale) <= kMostScale)) {
    throw_user_error("attention: scale is {}, expected a finite number from -{} to {}", *options.scale,
                     kMostScale, kMostScale);
  }
  if (!(options.skip_below >= 0 && options.skip_below < 1)) {
    throw_user_error("attention: skip_below is {}, expected a number from 0 to below 1", options.skip_below);
  }
}

void check_decay_values(const Tensor& decay) {
  const Tensor values = decay.to(torch::kFloat64).contiguous();
  const double* value = values.const_data_ptr<double>();
  for (int64_t head = 0; head < values.numel(); ++head) {
    if (!(value[head] >= 0 && std::isfinite(value[head]))) {
      throw_user_error("attention: decay[{}] is {}, expected a finite number >= 0", head, value[head]);
    }
  }
}

std::vector<int64_t> read_borders(const Tensor& cu_seqlens) {
  const Tensor host = cu_seqlens.to(torch::kCPU, torch::kInt64).contiguous();
  const int64_t* values = host.const_data_ptr<int64_t>();
  return {values, values + host.numel()};
}

// The documents' borders. `given` is the caller's host copy, or empty.
std::vector<int64_t> borders_of(const AttentionInputs& inputs, const std::vector<int64_t>& given,
                                int64_t seq) {
  const std::optional<Tensor>& cu_seqlens = inputs.cu_seqlens;
  const int64_t expected = cu_seqlens ? cu_seqlens->numel() : 0;
  if (!given.empty() && static_cast<int64_t>(given.size()) != expected) {
    throw_user_error("attention: borders has {} entries, expected the {} of cu_seqlens", given.size(),
                     expected);
  }
  if (!cu_seqlens) return {0, seq};
  if (!given.empty() && !cu_seqlens->is_cpu()) return given;
  std::vector<int64_t> borders = read_borders(*cu_seqlens);
  for (size_t n = 0; n < given.size(); ++n) {
    if (given[n] != borders[n])
      throw_user_error("attention: borders[{}] is {}, expected cu_seqlens' {}", n, given[n], borders[n]);
  }
  return borders;
}

// Positions and extents are int32, and the CUDA kernels count heads and batch rows in int32.
void check_sizes(const Tensor& query) {
  const auto check = [&](const char* name, int64_t dim) {
    if (query.size(dim) > kMostTokens)
      throw_user_error("attention: query has {} {}, expected at most {}", query.size(dim), name, kMostTokens);
  };
  if (query.dim() == 4) check("batch rows", 0);
  check("tokens", query.dim() - 3);
  check("heads", query.dim() - 2);
}

void check_borders(const std::vector<int64_t>& borders, int64_t total, int64_t max_seqlen) {
  if (borders.front() != 0) {
    throw_user_error("attention: cu_seqlens[0] is {}, expected 0", borders.front());
  }
  for (size_t document = 0; document + 1 < borders.size(); ++document) {
    if (borders[document + 1] < borders[document]) {
      throw_user_error("attention: cu_seqlens[{}] is {}, expected at least cu_seqlens[{}] = {}", document + 1,
                       borders[document + 1], document, borders[document]);
    }
  }
  if (borders.back() != total) {
    throw_user_error("attention: cu_seqlens ends at {}, expected the number of tokens, {}", borders.back(),
                     total);
  }
  int64_t longest = 0;  // now that all borders lie between 0 and total, their differences cannot overflow
  for (size_t document = 0; document + 1 < borders.size(); ++document) {
    longest = std::max(longest, borders[document + 1] - borders[document]);
  }
  if (max_seqlen != 0 && max_seqlen < longest) {
    throw_user_error(
        "attention: max_seqlen is {}, expected 0 (unknown) or at least the longest document's {}", max_seqlen,
        longest);
  }
}

using SymSizes = std::vector<c10::SymInt>;

void check_saved(const char* name, const Tensor& x, const SymSizes& sizes, torch::ScalarType dtype,
                 const torch::Device& device) {
  check_given("attention_backward", name, x);
  if (x.sym_sizes() != c10::SymIntArrayRef(sizes)) {
    throw_user_error("attention_backward: {} has shape {}, expected {}", name, text(x.sym_sizes()),
                     text(sizes));
  }
  if (x.scalar_type() != dtype) {
    throw_user_error("attention_backward: {} has dtype {}, expected {}", name, text(x.scalar_type()),
                     text(dtype));
  }
  if (x.device() != device || x.layout() != torch::kStrided) {
    throw_user_error("attention_backward: {} is on {}, expected a strided tensor on query's device {}", name,
                     x.device().str(), device.str());
  }
}

}  // namespace

void check_tensors_given(const AttentionInputs& inputs) {
  check_given("attention", "query", inputs.query);
  check_given("attention", "key", inputs.key);
  check_given("attention", "value", inputs.value);
  check_given("attention", "decay", inputs.decay);
  if (inputs.cu_seqlens) check_given("attention", "cu_seqlens", *inputs.cu_seqlens);
}

void check_backward_arguments(const BackwardInputs& saved, const AttentionInputs& inputs,
                              const AttentionOptions& options) {
  const Tensor& query = inputs.query;
  const auto size = [&](int64_t dim) { return query.sym_size(dim); };
  const c10::SymInt sides = options.causal ? 1 : 2;
  const bool packed = inputs.cu_seqlens.has_value();
  const SymSizes out = query.sym_sizes().vec();
  const SymSizes extent =
      packed ? SymSizes{1, size(1), size(0), sides} : SymSizes{size(0), size(2), size(1), sides};
  const SymSizes rem = packed ? SymSizes{size(0), size(1), sides} : extent;
  const auto dtype = query.scalar_type(), rem_dtype = inputs.decay.scalar_type();
  check_saved("grad_out", saved.grad_out, out, dtype, query.device());
  if (saved.grad_rem) check_saved("grad_rem", *saved.grad_rem, rem, rem_dtype, query.device());
  check_saved("out", saved.out, out, dtype, query.device());
  check_saved("rem", saved.rem, rem, rem_dtype, query.device());
  check_saved("extent", saved.extent, extent, torch::kInt32, query.device());
  check_given("attention_backward", "saved", saved.saved);
  check_saved("saved", saved.saved, {saved.saved.sym_numel()}, torch::kFloat32, query.device());
}

void check_extent(const Tensor& extent, const AttentionProblem& problem) {
  const Tensor contiguous = extent.contiguous();
  const int32_t* value = contiguous.const_data_ptr<int32_t>();
  const int64_t window = problem.options.window, sides = problem.sides();
  const auto most = [&](int64_t keys) { return window > 0 ? std::min(keys, window - 1) : keys; };
  for (int64_t head = 0; head < problem.batch() * problem.heads(); ++head) {
    for (size_t n = 0; n + 1 < problem.borders.size(); ++n) {
      const int64_t begin = problem.borders[n], end = problem.borders[n + 1];
      for (int64_t token = begin; token < end; ++token, value += sides) {
        if (value[0] >= 0 && value[0] <= most(token - begin) &&
            (sides == 1 || (value[1] >= 0 && value[1] <= most(end - 1 - token))))
          continue;
        throw_user_error(
            "attention_backward: extent at token {} is {}, expected at most the number of keys on the side",
            token, value[0] < 0 || value[0] > most(token - begin) ? value[0] : value[1]);
      }
    }
  }
}

void check_arguments(const AttentionInputs& inputs, int64_t max_seqlen, const AttentionOptions& options) {
  check_tensors_given(inputs);
  check_query(inputs.query, inputs.cu_seqlens.has_value());
  check_like_query("key", inputs.key, inputs.query);
  check_like_query("value", inputs.value, inputs.query);
  check_decay(inputs.decay, inputs.query);
  check_layout("query", inputs.query, inputs.query);
  check_layout("key", inputs.key, inputs.query);
  check_layout("value", inputs.value, inputs.query);
  check_layout("decay", inputs.decay, inputs.query);
  check_unit_stride("query", inputs.query);
  check_unit_stride("key", inputs.key);
  check_unit_stride("value", inputs.value);
  if (inputs.cu_seqlens) {
    check_cu_seqlens(*inputs.cu_seqlens);
    check_layout("cu_seqlens", *inputs.cu_seqlens, inputs.query);
  }
  check_options(max_seqlen, options);
}

AttentionProblem make_problem(const AttentionInputs& inputs, const std::vector<int64_t>& borders,
                              int64_t max_seqlen, const AttentionOptions& options) {
  check_arguments(inputs, max_seqlen, options);
  check_sizes(inputs.query);
  if (inputs.decay.is_cpu()) check_decay_values(inputs.decay);

  AttentionProblem problem;
  problem.packed = inputs.cu_seqlens.has_value();
  const auto with_batch = [&](const Tensor& x) { return problem.packed ? x.unsqueeze(0) : x; };
  problem.query = with_batch(inputs.query);
  problem.key = with_batch(inputs.key);
  problem.value = with_batch(inputs.value);
  problem.decay = inputs.decay.contiguous();
  if (problem.packed) problem.cu_seqlens = inputs.cu_seqlens->contiguous();
  problem.options = options;
  problem.scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(problem.head_dim())));
  // No key is farther than the sequence is long, and sums with a larger window could overflow.
  problem.options.window = std::min(options.window, problem.seq());
  problem.borders = borders_of(inputs, borders, problem.seq());
  check_borders(problem.borders, problem.seq(), max_seqlen);
  return problem;
}

}  // namespace rse::ops
