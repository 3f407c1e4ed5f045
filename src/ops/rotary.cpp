#include <cmath>
#include <map>
#include <mutex>
#include <tuple>

#include "core/check.h"
#include "ops/attention_problem.h"

namespace rse::ops {
namespace {

using Tables = std::pair<torch::Tensor, torch::Tensor>;

constexpr int64_t kFirstPositions = 512;

Tables compute_tables(int64_t positions, int64_t head_dim, double base, torch::ScalarType dtype,
                      const torch::Device& device) {
  // The tables outlive the call: they must not become inference tensors, which autograd refuses to save.
  const c10::InferenceMode normal_tensors(false);
  const torch::NoGradGuard no_grad;
  const auto float64 = torch::dtype(torch::kFloat64);
  const auto exponent = torch::arange(head_dim / 2, float64) * (-2.0 / static_cast<double>(head_dim));
  const auto frequency = torch::pow(torch::full({}, base, float64), exponent);
  const auto angle = torch::outer(torch::arange(positions, float64), frequency);
  return {angle.cos().to(dtype).to(device), angle.sin().to(dtype).to(device)};
}

// Row p of the result: the table's row for the position that token p has in its document.
torch::Tensor rows_of_tokens(const torch::Tensor& table, const std::vector<int64_t>& borders) {
  const int64_t first_length = borders[1] - borders[0];
  bool uniform = true;
  for (size_t document = 1; document + 1 < borders.size(); ++document) {
    uniform = uniform && borders[document + 1] - borders[document] == first_length;
  }
  if (uniform) return table.repeat({static_cast<int64_t>(borders.size()) - 1, 1});
  auto positions = torch::empty({borders.back()}, torch::kInt64);
  int64_t* position = positions.data_ptr<int64_t>();
  for (size_t document = 0; document + 1 < borders.size(); ++document) {
    for (int64_t token = borders[document]; token < borders[document + 1]; ++token) {
      *position++ = token - borders[document];
    }
  }
  return table.index_select(0, positions.to(table.device()));
}

}  // namespace

Tables rotary_tables(int64_t positions, int64_t head_dim, double base, torch::ScalarType dtype,
                     const torch::Device& device) {
  using Key = std::tuple<double, int64_t, torch::ScalarType, std::string>;
  static std::mutex mutex;
  static std::map<Key, Tables> cache;
  // Tables that were outgrown stay, because kernels on other streams or a CUDA graph may still read them.
  // Each is at most half as large as the next.
  static std::vector<Tables> outgrown;

  const std::lock_guard lock(mutex);
  Tables& tables = cache[Key{base, head_dim, dtype, device.str()}];
  if (!tables.first.defined() || tables.first.size(0) < positions) {
    int64_t grown = kFirstPositions;
    while (grown < positions) grown *= 2;
    if (tables.first.defined()) outgrown.push_back(tables);
    tables = compute_tables(grown, head_dim, base, dtype, device);
  }
  return {tables.first.narrow(0, 0, positions), tables.second.narrow(0, 0, positions)};
}

torch::Tensor apply_rotary(const torch::Tensor& x, const std::vector<int64_t>& borders, double base,
                           bool inverse) {
  RSE_ASSERT(x.dim() == 4 && borders.size() >= 2 && borders.back() == x.size(1),
             "x has {} dimensions, borders {} entries", x.dim(), borders.size());
  const int64_t half = x.size(3) / 2;
  const auto dtype = x.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  int64_t longest = 0;
  for (size_t document = 0; document + 1 < borders.size(); ++document) {
    longest = std::max(longest, borders[document + 1] - borders[document]);
  }
  const auto [cos_table, sin_table] = rotary_tables(longest, x.size(3), base, dtype, x.device());
  const auto cos = rows_of_tokens(cos_table, borders).unsqueeze(1);  // [seq, 1, head_dim / 2]
  auto sin = rows_of_tokens(sin_table, borders).unsqueeze(1);
  if (inverse) sin = -sin;
  const auto first = x.narrow(3, 0, half).to(dtype);
  const auto second = x.narrow(3, half, half).to(dtype);
  return torch::cat({first * cos - second * sin, second * cos + first * sin}, 3).to(x.scalar_type());
}

}  // namespace rse::ops
