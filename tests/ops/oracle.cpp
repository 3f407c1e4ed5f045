#include "tests/ops/oracle.h"

namespace rse {
namespace {

using torch::Tensor;
using Matrix = std::vector<std::vector<double>>;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
  return sum;
}

// The rows of one head of one document, [length][head_dim].
Matrix rows(const Tensor& x, int64_t batch, int64_t head, int64_t begin, int64_t end) {
  const auto access = x.accessor<double, 4>();
  Matrix result(end - begin, std::vector<double>(x.size(3)));
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t d = 0; d < x.size(3); ++d) result[i - begin][d] = access[batch][i][head][d];
  }
  return result;
}

void add_rows(const Matrix& from, Tensor& x, int64_t batch, int64_t head, int64_t begin) {
  auto access = x.accessor<double, 4>();
  for (size_t i = 0; i < from.size(); ++i) {
    for (size_t d = 0; d < from[i].size(); ++d) access[batch][begin + i][head][d] += from[i][d];
  }
}

// Applies R_p: it turns each pair (x_d, x_{d + D/2}) by the angle p base^(-2d/D). sign = -1 inverts it.
void rotate(Matrix& x, double base, double sign) {
  if (base == 0) return;
  for (size_t p = 0; p < x.size(); ++p) {
    const size_t half = x[p].size() / 2;
    for (size_t d = 0; d < half; ++d) {
      const double angle = sign * static_cast<double>(p) * std::pow(base, -2.0 * d / (2.0 * half));
      const double a = x[p][d], b = x[p][d + half];
      x[p][d] = a * std::cos(angle) - b * std::sin(angle);
      x[p][d + half] = b * std::cos(angle) + a * std::sin(angle);
    }
  }
}

// One head of one document, with its weights.
struct Head {
  Matrix query, key, value;  // query and key are rotated
  double decay, scale;
  AttentionOptions options;
  bool running;
  Matrix beta, weight;  // weight is A
  Matrix start, rem;    // r_i and rem_i, [sides][length]

  int64_t length() const { return static_cast<int64_t>(query.size()); }
  int sides() const { return options.causal ? 1 : 2; }
  bool takes_part(int64_t i, int64_t j) const {
    if (options.causal && j > i) return false;
    if (options.window > 0 && std::abs(i - j) >= options.window) return false;
    return i != j || options.self_key;
  }
  static int side_of(int64_t i, int64_t j) { return j < i ? 0 : 1; }
};

// Returns the product of 1 - beta_ik over the keys k strictly between i and j.
double product_between(const Head& h, int64_t i, int64_t j) {
  double p = 1;
  for (int64_t k = std::min(i, j) + 1; k <= std::max(i, j) - 1; ++k) p *= 1 - h.beta[i][k];
  return p;
}

// Returns product_between(h, i, j) for every j.
std::vector<double> running_products(const Head& h, int64_t i) {
  std::vector<double> products(h.length(), 1.0);
  for (int64_t j = i - 2; j >= 0; --j) products[j] = products[j + 1] * (1 - h.beta[i][j + 1]);
  for (int64_t j = i + 2; j < h.length(); ++j) products[j] = products[j - 1] * (1 - h.beta[i][j - 1]);
  return products;
}

void compute_weights(Head& h) {
  const int64_t n = h.length();
  h.beta.assign(n, std::vector<double>(n, 0.0));
  h.weight = h.beta;
  h.start.assign(h.sides(), std::vector<double>(n, 1.0));
  h.rem = h.start;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      if (!h.takes_part(i, j)) continue;
      const double x = h.scale * dot(h.query[i], h.key[j]) - h.decay * static_cast<double>(std::abs(i - j));
      h.beta[i][j] = 1 / (1 + std::exp(-x));
    }
    for (int side = 0; side < h.sides(); ++side) {
      if (h.options.mass == Mass::kShared) h.start[side][i] = (1 - h.beta[i][i]) / h.sides();
      h.rem[side][i] = h.start[side][i];
    }
    const std::vector<double> products = h.running ? running_products(h, i) : std::vector<double>();
    for (int64_t j = 0; j < n; ++j) {
      if (!h.takes_part(i, j)) continue;
      h.weight[i][j] = h.beta[i][j] * (h.running ? products[j] : product_between(h, i, j));
      if (i == j) continue;
      const int side = Head::side_of(i, j);
      h.weight[i][j] *= h.start[side][i];
      h.rem[side][i] *= 1 - h.beta[i][j];
    }
  }
}

struct HeadGradients {
  Matrix query, key, value;
  double decay = 0;
};

// Returns the sum of t_im over the keys m that are strictly farther from i than j, on j's side.
double farther_sum(const Head& h, const Matrix& t, int64_t i, int64_t j) {
  double sum = 0;
  const int64_t begin = j < i ? 0 : j + 1, end = j < i ? j : h.length();
  for (int64_t m = begin; m < end; ++m) sum += t[i][m];
  return sum;
}

// Returns farther_sum(h, t, i, j) for every j.
std::vector<double> running_sums(const Head& h, const Matrix& t, int64_t i) {
  std::vector<double> sums(h.length(), 0.0);
  for (int64_t j = 1; j < i; ++j) sums[j] = sums[j - 1] + t[i][j - 1];
  for (int64_t j = h.length() - 2; j > i; --j) sums[j] = sums[j + 1] + t[i][j + 1];
  return sums;
}

// grad_rem is [sides][length].
HeadGradients head_gradients(const Head& h, const Matrix& grad_out, const Matrix& grad_rem) {
  const int64_t n = h.length();
  const size_t head_dim = h.query.empty() ? 0 : h.query[0].size();
  const Matrix zeros(n, std::vector<double>(head_dim, 0.0));
  HeadGradients grad{zeros, zeros, zeros};
  Matrix t(n, std::vector<double>(n, 0.0));
  for (int64_t i = 0; i < n; ++i) {
    std::vector<double> end(h.sides());  // rem_i drem_i per side
    for (int side = 0; side < h.sides(); ++side) {
      double grad_end = grad_rem[side][i];
      if (h.options.remainder == Remainder::kSelf) {
        grad_end += dot(grad_out[i], h.value[i]);
        for (size_t d = 0; d < head_dim; ++d) grad.value[i][d] += h.rem[side][i] * grad_out[i][d];
      }
      end[side] = h.rem[side][i] * grad_end;
    }
    double all_others = 0;  // sum of t_im over m != i, plus `end` of every side
    for (int64_t j = 0; j < n; ++j) {
      t[i][j] = h.weight[i][j] * dot(grad_out[i], h.value[j]);
      if (j != i) all_others += t[i][j];
    }
    for (double e : end) all_others += e;
    const std::vector<double> sums = h.running ? running_sums(h, t, i) : std::vector<double>();
    for (int64_t j = 0; j < n; ++j) {
      if (!h.takes_part(i, j)) continue;
      double farther = h.options.mass == Mass::kShared ? all_others : 0.0;
      if (i != j) farther = (h.running ? sums[j] : farther_sum(h, t, i, j)) + end[Head::side_of(i, j)];
      const double dx = t[i][j] - h.beta[i][j] * (t[i][j] + farther);
      grad.decay -= dx * static_cast<double>(std::abs(i - j));
      for (size_t d = 0; d < head_dim; ++d) {
        grad.value[j][d] += h.weight[i][j] * grad_out[i][d];
        grad.query[i][d] += dx * h.key[j][d] * h.scale;
        grad.key[j][d] += dx * h.query[i][d] * h.scale;
      }
    }
  }
  rotate(grad.query, h.options.rotary_base, -1);
  rotate(grad.key, h.options.rotary_base, -1);
  return grad;
}

// Computes the weights of every head of every document, and calls visit(head, batch, head index, begin).
template <typename Visit>
void for_each_head(const OracleInputs& in, const Visit& visit) {
  const Tensor query = in.query.contiguous(), key = in.key.contiguous(), value = in.value.contiguous();
  const double scale = in.options.scale.value_or(1 / std::sqrt(static_cast<double>(query.size(3))));
  for (int64_t batch = 0; batch < query.size(0); ++batch) {
    for (int64_t index = 0; index < query.size(2); ++index) {
      for (size_t document = 0; document + 1 < in.borders.size(); ++document) {
        const int64_t begin = in.borders[document], end = in.borders[document + 1];
        Head h{rows(query, batch, index, begin, end),
               rows(key, batch, index, begin, end),
               rows(value, batch, index, begin, end),
               in.decay[index].item<double>(),
               scale,
               in.options,
               in.running,
               {},
               {},
               {},
               {}};
        rotate(h.query, in.options.rotary_base, 1);
        rotate(h.key, in.options.rotary_base, 1);
        compute_weights(h);
        visit(h, batch, index, begin);
      }
    }
  }
}

}  // namespace

OracleOutputs oracle_forward(const OracleInputs& in) {
  const int64_t sides = in.options.causal ? 1 : 2;
  OracleOutputs result{
      torch::zeros_like(in.query, torch::MemoryFormat::Contiguous),
      torch::zeros({in.query.size(0), in.query.size(2), in.query.size(1), sides}, torch::kFloat64)};
  auto rem = result.rem.accessor<double, 4>();
  for_each_head(in, [&](const Head& h, int64_t batch, int64_t index, int64_t begin) {
    Matrix out(h.length(), std::vector<double>(in.query.size(3), 0.0));
    for (int64_t i = 0; i < h.length(); ++i) {
      for (int64_t j = 0; j < h.length(); ++j) {
        for (size_t d = 0; d < out[i].size(); ++d) out[i][d] += h.weight[i][j] * h.value[j][d];
      }
      for (int64_t side = 0; side < sides; ++side) {
        rem[batch][index][begin + i][side] = h.rem[side][i];
        if (h.options.remainder != Remainder::kSelf) continue;
        for (size_t d = 0; d < out[i].size(); ++d) out[i][d] += h.rem[side][i] * h.value[i][d];
      }
    }
    add_rows(out, result.out, batch, index, begin);
  });
  return result;
}

OracleGradients oracle_backward(const OracleInputs& in, const Tensor& grad_out, const Tensor& grad_rem) {
  const auto zeros = [&] { return torch::zeros_like(in.query, torch::MemoryFormat::Contiguous); };
  OracleGradients result{zeros(), zeros(), zeros(), torch::zeros({in.query.size(2)}, torch::kFloat64)};
  const Tensor contiguous_grad_out = grad_out.contiguous();
  for_each_head(in, [&](const Head& h, int64_t batch, int64_t index, int64_t begin) {
    const int64_t end = begin + h.length();
    Matrix rem_rows(h.sides(), std::vector<double>(h.length()));
    for (int side = 0; side < h.sides(); ++side) {
      for (int64_t i = 0; i < h.length(); ++i) {
        rem_rows[side][i] = grad_rem.accessor<double, 4>()[batch][index][begin + i][side];
      }
    }
    const HeadGradients grad =
        head_gradients(h, rows(contiguous_grad_out, batch, index, begin, end), rem_rows);
    add_rows(grad.query, result.query, batch, index, begin);
    add_rows(grad.key, result.key, batch, index, begin);
    add_rows(grad.value, result.value, batch, index, begin);
    result.decay[index] += grad.decay;
  });
  return result;
}

}  // namespace rse
