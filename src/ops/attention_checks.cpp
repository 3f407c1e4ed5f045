#include "ops/attention_checks.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/check.h"

namespace rse::ops {
namespace {

using torch::Tensor;

template <typename T>
std::string text(const T& value) {
  std::ostringstream stream;
  stream << value;
  return stream.str();
}

bool same_sizes(const Tensor& a, const Tensor& b) {
  const auto sizes_a = a.sym_sizes(), sizes_b = b.sym_sizes();
  return sizes_a.size() == sizes_b.size() && std::equal(sizes_a.begin(), sizes_a.end(), sizes_b.begin());
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
    throw_user_error("attention: {} has layout {}, expected a strided tensor", name, text(x.layout()));
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
  if (options.scale && !std::isfinite(*options.scale)) {
    throw_user_error("attention: scale is {}, expected a finite number", *options.scale);
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

void check_borders(const std::vector<int64_t>& borders, int64_t total, int64_t max_seqlen) {
  if (borders.front() != 0) {
    throw_user_error("attention: cu_seqlens[0] is {}, expected 0", borders.front());
  }
  int64_t longest = 0;
  for (size_t document = 0; document + 1 < borders.size(); ++document) {
    const int64_t length = borders[document + 1] - borders[document];
    if (length < 0) {
      throw_user_error("attention: cu_seqlens[{}] is {}, expected at least cu_seqlens[{}] = {}", document + 1,
                       borders[document + 1], document, borders[document]);
    }
    longest = std::max(longest, length);
  }
  if (borders.back() != total) {
    throw_user_error("attention: cu_seqlens ends at {}, expected the number of tokens, {}", borders.back(),
                     total);
  }
  if (max_seqlen != 0 && max_seqlen < longest) {
    throw_user_error(
        "attention: max_seqlen is {}, expected 0 (unknown) or at least the longest document's {}", max_seqlen,
        longest);
  }
}

}  // namespace

void check_arguments(const AttentionInputs& inputs, int64_t max_seqlen, const AttentionOptions& options) {
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
  if (!problem.packed) {
    problem.borders = {0, problem.seq()};
  } else if (borders.empty()) {
    problem.borders = read_borders(*inputs.cu_seqlens);
  } else if (static_cast<int64_t>(borders.size()) == inputs.cu_seqlens->numel()) {
    problem.borders = borders;
  } else {
    throw_user_error("attention: borders has {} entries, expected the {} of cu_seqlens", borders.size(),
                     inputs.cu_seqlens->numel());
  }
  check_borders(problem.borders, problem.seq(), max_seqlen);
  return problem;
}

}  // namespace rse::ops
