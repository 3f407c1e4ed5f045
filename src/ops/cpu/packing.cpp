#include "ops/cpu/packing.h"

#include <algorithm>

#include "ops/parallel.h"

namespace rse::ops::cpu {
namespace {

constexpr int64_t kRowsPerTask = 128;

template <typename T>
void turn_row(const Rotation<T>* rotation, int64_t n, const T* row, int64_t head_dim, T sign, T factor,
              T* result) {
  const bool turns = rotation != nullptr && rotation->cos != nullptr;
  const int64_t at = turns ? rotation->positions[n] * rotation->half : 0;
  kernel_set().of<T>().turn_row(row, turns ? rotation->cos + at : nullptr,
                                turns ? rotation->sin + at : nullptr, head_dim, sign, factor, result);
}

}  // namespace

std::vector<DocumentBlock> document_blocks(const std::vector<int64_t>& borders) {
  std::vector<DocumentBlock> blocks;
  for (size_t document = 0; document + 1 < borders.size(); ++document) {
    const int64_t begin = borders[document], len = borders[document + 1] - begin;
    const auto first_block = static_cast<int64_t>(blocks.size());
    for (int64_t index = 0; index * kBlock < len; ++index) blocks.push_back({begin, len, index, first_block});
  }
  return blocks;
}

template <typename T>
Rotation<T>::Rotation(const AttentionProblem& problem) {
  if (problem.options.rotary_base == 0) return;
  int64_t longest = 0;
  positions.reserve(problem.seq());
  for (size_t document = 0; document + 1 < problem.borders.size(); ++document) {
    const int64_t len = problem.borders[document + 1] - problem.borders[document];
    longest = std::max(longest, len);
    for (int64_t position = 0; position < len; ++position) positions.push_back(position);
  }
  std::tie(cos_table, sin_table) = rotary_tables(longest, problem.head_dim(), problem.options.rotary_base,
                                                 kScalarType<T>, problem.query.device());
  cos_table = cos_table.contiguous();
  sin_table = sin_table.contiguous();
  cos = cos_table.const_data_ptr<T>();
  sin = sin_table.const_data_ptr<T>();
  half = problem.head_dim() / 2;
}

template <typename T>
torch::Tensor pack_rows(const torch::Tensor& source, int64_t stride, const Rotation<T>* rotation, T factor) {
  torch::Tensor converted = source.to(kScalarType<T>);
  if (converted.stride(3) != 1) converted = converted.contiguous();
  const int64_t batch = source.size(0), seq = source.size(1), heads = source.size(2),
                head_dim = source.size(3);
  const int64_t batch_stride = converted.stride(0), seq_stride = converted.stride(1),
                head_stride = converted.stride(2);
  torch::Tensor rows = torch::empty({batch * heads, seq, stride}, kScalarType<T>);
  const T* const from = converted.const_data_ptr<T>();
  T* const to = rows.data_ptr<T>();
  parallel_for(0, batch * heads * seq, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t n = r % seq, h = r / seq % heads, b = r / seq / heads;
      T* const row = to + r * stride;
      turn_row(rotation, n, from + b * batch_stride + n * seq_stride + h * head_stride, head_dim, T(1),
               factor, row);
      std::fill(row + head_dim, row + stride, T(0));
    }
  });
  return rows;
}

template <typename T>
torch::Tensor unpack_rows(const torch::Tensor& rows, const AttentionProblem& problem,
                          const Rotation<T>* rotation, T factor) {
  const int64_t parts = rows.size(0), seq = problem.seq(), heads = problem.heads(),
                head_dim = problem.head_dim();
  const int64_t stride = rows.size(3), part_stride = rows.stride(0), all_rows = problem.batch() * heads * seq;
  torch::Tensor result = torch::empty({problem.batch(), seq, heads, head_dim}, kScalarType<T>);
  const T* const from = rows.const_data_ptr<T>();
  T* const to = result.data_ptr<T>();
  parallel_for(0, all_rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    std::vector<T> sum(head_dim);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t n = r % seq, h = r / seq % heads, b = r / seq / heads;
      const T* const first = from + r * stride;
      std::copy(first, first + head_dim, sum.begin());
      for (int64_t part = 1; part < parts; ++part) {
        const T* const more = first + part * part_stride;
        for (int64_t d = 0; d < head_dim; ++d) sum[d] += more[d];
      }
      turn_row(rotation, n, sum.data(), head_dim, T(-1), factor, to + ((b * seq + n) * heads + h) * head_dim);
    }
  });
  return result.to(problem.query.scalar_type());
}

template struct Rotation<float>;
template struct Rotation<double>;
template torch::Tensor pack_rows<float>(const torch::Tensor&, int64_t, const Rotation<float>*, float);
template torch::Tensor pack_rows<double>(const torch::Tensor&, int64_t, const Rotation<double>*, double);
template torch::Tensor unpack_rows<float>(const torch::Tensor&, const AttentionProblem&,
                                          const Rotation<float>*, float);
template torch::Tensor unpack_rows<double>(const torch::Tensor&, const AttentionProblem&,
                                           const Rotation<double>*, double);

}  // namespace rse::ops::cpu
