// Between tensors [batch, seq, heads, head_dim] and the kernels' rows: [batch * heads, seq, stride],
// converted to T, rotated, scaled, zero beyond head_dim. Both directions are parallel over rows.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "ops/attention_problem.h"
#include "ops/cpu/kernels.h"

namespace rse::ops::cpu {

// float for float32, bfloat16 and float16 inputs; double for float64.
template <typename T>
constexpr torch::ScalarType kScalarType = sizeof(T) == 4 ? torch::kFloat32 : torch::kFloat64;

// The kBlock-sized blocks of a batch row, documents one after another.
struct DocumentBlock {
  int64_t begin;        // of the document, in the row
  int64_t len;          // of the document
  int64_t index;        // of the block in the document
  int64_t first_block;  // of the document, in this list
};
std::vector<DocumentBlock> document_blocks(const std::vector<int64_t>& borders);

// What the rotation of rows needs: cos and sin by position, and the position of every row. cos is null where
// there is no rotation.
template <typename T>
struct Rotation {
  explicit Rotation(const AttentionProblem& problem);
  torch::Tensor cos_table, sin_table;
  std::vector<int64_t> positions;
  const T* cos = nullptr;
  const T* sin = nullptr;
  int64_t half = 0;
};

inline int64_t row_stride(int64_t head_dim, int64_t lanes) { return (head_dim + lanes - 1) / lanes * lanes; }

// rows[b * heads + h][n] = R_n source[b][n][h] * factor; without a rotation just the factor.
template <typename T>
torch::Tensor pack_rows(const torch::Tensor& source, int64_t stride, const Rotation<T>* rotation, T factor);

// result[b][n][h] = R_n^-1 (sum over `parts` of rows[part][b * heads + h][n]) * factor, as [batch, seq,
// heads, head_dim] of `dtype`. rows: [parts, batch * heads, seq, stride], added in order.
template <typename T>
torch::Tensor unpack_rows(const torch::Tensor& rows, const AttentionProblem& problem,
                          const Rotation<T>* rotation, T factor);

}  // namespace rse::ops::cpu
