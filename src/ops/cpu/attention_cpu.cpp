// forward_cpu and backward_cpu: pack, run the SIMD kernels block by block in parallel, unpack.
//
// The results are the same bits for any number of threads: a task is defined by the problem's sizes alone and
// writes only what is its own, and everything that is summed over tasks is summed in their order afterwards.
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/check.h"
#include "ops/attention_problem.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/packing.h"
#include "ops/parallel.h"
#include "ops/workspace.h"

namespace rse::ops {
namespace cpu {
namespace {

constexpr double kLog2e = 1.4426950408889634074;

// Backward's tasks are (batch, head) pairs, each adding to its own dK and dV. Where pairs are fewer than
// this, each is split by blocks of queries into up to kMaxSplits parts with dK and dV of their own.
constexpr int64_t kWantedTasks = 12;
constexpr int64_t kMaxSplits = 8;
// Neighbouring blocks of a head share its keys in the cache.
constexpr int64_t kForwardBlocksPerTask = 8;

template <typename T>
const Kernels<T>& kernels() {
  return kernel_set().of<T>();
}

// Runs task(0) ... task(count - 1), each thread taking the next one that is free, with scratch of its own.
template <typename T, typename Task>
void run_tasks(int64_t count, int64_t scratch_size, const Task& task) {
  std::atomic<int64_t> next{0};
  parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    const torch::Tensor scratch = torch::empty({scratch_size}, kScalarType<T>);
    for (int64_t n = next++; n < count; n = next++) task(n, scratch.data_ptr<T>());
  });
}

StickRules rules_of(const AttentionProblem& problem) {
  const AttentionOptions& options = problem.options;
  return {options.causal,   options.mass == Mass::kShared,
          options.self_key, options.remainder == Remainder::kSelf,
          options.window,   options.skip_below};
}

// The packed inputs of a call.
template <typename T>
struct PackedProblem {
  const AttentionProblem& problem;
  StickRules rules;
  std::vector<DocumentBlock> blocks;
  Rotation<T> rotation;
  int64_t stride;
  torch::Tensor query, key, value;          // [batch * heads, seq, stride]
  torch::Tensor decay;                      // [heads], times log2(e)
  torch::Tensor norms_before, norms_after;  // [batch * heads, blocks]

  explicit PackedProblem(const AttentionProblem& p)
      : problem(p),
        rules(rules_of(p)),
        blocks(document_blocks(p.borders)),
        rotation(p),
        stride(row_stride(p.head_dim(), kernels<T>().lanes)),
        query(pack_rows<T>(p.query, stride, &rotation, static_cast<T>(p.scale * kLog2e))),
        key(pack_rows<T>(p.key, stride, &rotation, T(1))),
        value(pack_rows<T>(p.value, stride, nullptr, T(1))),
        decay((p.decay.to(torch::kFloat64) * kLog2e).to(kScalarType<T>).contiguous()) {}

  int64_t heads_in_all() const { return problem.batch() * problem.heads(); }
  // Offset of a row in the packed tensors.
  int64_t row(int64_t head, int64_t n) const { return (head * problem.seq() + n) * stride; }

  HeadView<T> view(int64_t head, const DocumentBlock& block) const {
    HeadView<T> view;
    const int64_t at = row(head, block.begin);
    view.query = query.const_data_ptr<T>() + at;
    view.key = key.const_data_ptr<T>() + at;
    view.value = value.const_data_ptr<T>() + at;
    view.len = block.len;
    view.head_dim = problem.head_dim();
    view.stride = stride;
    view.decay = decay.const_data_ptr<T>()[head % problem.heads()];
    const int64_t tiles_at = head * static_cast<int64_t>(blocks.size()) + block.first_block;
    view.key_norm_before = norms_before.defined() ? norms_before.const_data_ptr<T>() + tiles_at : nullptr;
    view.key_norm_after = norms_after.defined() ? norms_after.const_data_ptr<T>() + tiles_at : nullptr;
    return view;
  }
};

template <typename T>
void compute_key_norms(PackedProblem<T>& packed) {
  const auto per_head = static_cast<int64_t>(packed.blocks.size());
  torch::Tensor before = torch::empty({packed.heads_in_all(), per_head}, kScalarType<T>);
  torch::Tensor after = torch::empty_like(before);
  T* const to_before = before.data_ptr<T>();
  T* const to_after = after.data_ptr<T>();
  parallel_for(0, packed.heads_in_all(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) {
      for (const DocumentBlock& block : packed.blocks) {
        if (block.index > 0) continue;
        const int64_t at = head * per_head + block.first_block;
        kernels<T>().key_norms(packed.view(head, block).key, block.len, packed.problem.head_dim(),
                               packed.stride, to_before + at, to_after + at);
      }
    }
  });
  packed.norms_before = before;
  packed.norms_after = after;
}

template <typename T>
ForwardResult forward(const AttentionProblem& problem) {
  PackedProblem<T> packed(problem);
  if (packed.rules.skip_below > 0) compute_key_norms(packed);
  const int64_t seq = problem.seq(), heads = problem.heads(), head_dim = problem.head_dim(),
                sides = problem.sides();
  torch::Tensor out = torch::empty({problem.batch(), seq, heads, head_dim}, kScalarType<T>);
  torch::Tensor rem = torch::empty({problem.batch(), heads, seq, sides}, kScalarType<T>);
  torch::Tensor extent = torch::empty({problem.batch(), heads, seq, sides}, torch::kInt32);
  T* const to_out = out.data_ptr<T>();
  T* const to_rem = rem.data_ptr<T>();
  int32_t* const to_extent = extent.data_ptr<int32_t>();

  const auto blocks = static_cast<int64_t>(packed.blocks.size());
  const int64_t tasks_per_head = (blocks + kForwardBlocksPerTask - 1) / kForwardBlocksPerTask;
  run_tasks<T>(packed.heads_in_all() * tasks_per_head, kernels<T>().forward_scratch(head_dim),
               [&](int64_t task, T* scratch) {
                 const int64_t head = task / tasks_per_head;
                 const int64_t first = task % tasks_per_head * kForwardBlocksPerTask;
                 for (int64_t n = first; n < std::min(first + kForwardBlocksPerTask, blocks); ++n) {
                   const DocumentBlock& block = packed.blocks[n];
                   const int64_t batch = head / heads;
                   const int64_t rows_at = (head * seq + block.begin) * sides;
                   const ForwardOutput<T> output{
                       to_out + ((batch * seq + block.begin) * heads + head % heads) * head_dim,
                       heads * head_dim, to_rem + rows_at, to_extent + rows_at};
                   kernels<T>().forward_block(packed.view(head, block), packed.rules, output, block.index,
                                              scratch);
                 }
               });
  return {out.to(problem.query.scalar_type()), rem, extent, {}};
}

int64_t splits_of(int64_t heads_in_all, size_t blocks) {
  const int64_t heads = std::max<int64_t>(heads_in_all, 1);
  return std::clamp<int64_t>((kWantedTasks + heads - 1) / heads, 1,
                             std::clamp<int64_t>(static_cast<int64_t>(blocks), 1, kMaxSplits));
}

// Query, key, value and the output's gradient are packed; each split has its own gradients of key and value.
template <typename T>
int64_t backward_workspace(const AttentionProblem& problem) {
  const int64_t heads = problem.batch() * problem.heads();
  const int64_t splits = splits_of(heads, document_blocks(problem.borders).size());
  const int64_t matrix = heads * problem.seq() * row_stride(problem.head_dim(), kernels<T>().lanes);
  return (4 + 2 * splits) * matrix * static_cast<int64_t>(sizeof(T));
}

template <typename T>
Gradients backward(const AttentionProblem& problem, const ForwardResult& saved, const torch::Tensor& grad_out,
                   const torch::Tensor& grad_rem) {
  const PackedProblem<T> packed(problem);
  const int64_t seq = problem.seq(), heads = problem.heads(), sides = problem.sides();
  const int64_t all_heads = packed.heads_in_all(), splits = splits_of(all_heads, packed.blocks.size());
  const torch::Tensor out_grad = pack_rows<T>(grad_out, packed.stride, nullptr, T(1));
  torch::Tensor rem_grad;
  if (grad_rem.defined()) rem_grad = grad_rem.to(kScalarType<T>).contiguous();
  const torch::Tensor extent = saved.extent.contiguous();
  torch::Tensor key_grad = torch::empty({splits, all_heads, seq, packed.stride}, kScalarType<T>);
  torch::Tensor value_grad = torch::empty_like(key_grad);
  std::vector<double> decay_grads(all_heads * splits, 0.0);

  const int64_t scratch_size = kernels<T>().backward_scratch(
      problem.head_dim(), max_tiles(problem.longest_document(), problem.options.window));
  // A block's dQ goes where its own queries lie: nobody else reads them.
  T* const to_query_grad = packed.query.template data_ptr<T>();
  const T* const from_out_grad = out_grad.const_data_ptr<T>();
  T* const to_key_grad = key_grad.data_ptr<T>();
  T* const to_value_grad = value_grad.data_ptr<T>();
  run_tasks<T>(all_heads * splits, scratch_size, [&](int64_t task, T* scratch) {
    const int64_t head = task / splits, split = task % splits;
    const int64_t part_at = (split * all_heads + head) * seq * packed.stride;
    std::fill_n(to_key_grad + part_at, seq * packed.stride, T(0));
    std::fill_n(to_value_grad + part_at, seq * packed.stride, T(0));
    for (size_t n = split; n < packed.blocks.size(); n += splits) {
      const DocumentBlock& block = packed.blocks[n];
      const int64_t at = packed.row(head, block.begin), in_part = part_at + block.begin * packed.stride;
      const int64_t rows_at = (head * seq + block.begin) * sides;
      const BackwardInput<T> input{from_out_grad + at,
                                   rem_grad.defined() ? rem_grad.const_data_ptr<T>() + rows_at : nullptr,
                                   extent.const_data_ptr<int32_t>() + rows_at};
      const BackwardOutput<T> output{to_query_grad + at, to_key_grad + in_part, to_value_grad + in_part,
                                     &decay_grads[head * splits + split]};
      kernels<T>().backward_block(packed.view(head, block), packed.rules, input, output, block.index,
                                  scratch);
    }
  });

  Gradients gradients;
  gradients.query =
      unpack_rows<T>(packed.query.unsqueeze(0), problem, &packed.rotation, static_cast<T>(problem.scale));
  gradients.key = unpack_rows<T>(key_grad, problem, &packed.rotation, static_cast<T>(1.0 / kLog2e));
  gradients.value = unpack_rows<T>(value_grad, problem, nullptr, T(1));
  torch::Tensor decay_grad = torch::zeros({heads}, torch::kFloat64);
  for (int64_t n = 0; n < all_heads * splits; ++n) {
    decay_grad.data_ptr<double>()[n / splits % heads] += decay_grads[n];
  }
  gradients.decay = decay_grad.to(problem.decay.scalar_type());
  return gradients;
}

}  // namespace
}  // namespace cpu

int64_t backward_workspace_cpu(const AttentionProblem& problem) {
  return problem.query.scalar_type() == torch::kFloat64 ? cpu::backward_workspace<double>(problem)
                                                        : cpu::backward_workspace<float>(problem);
}

ForwardResult forward_cpu(const AttentionProblem& problem) {
  RSE_ASSERT(problem.query.device().is_cpu(), "query on {}", problem.query.device().str());
  const torch::NoGradGuard no_grad;
  return problem.query.scalar_type() == torch::kFloat64 ? cpu::forward<double>(problem)
                                                        : cpu::forward<float>(problem);
}

Gradients backward_cpu(const AttentionProblem& problem, const ForwardResult& saved,
                       const torch::Tensor& grad_out, const torch::Tensor& grad_rem) {
  const torch::NoGradGuard no_grad;
  return problem.query.scalar_type() == torch::kFloat64
             ? cpu::backward<double>(problem, saved, grad_out, grad_rem)
             : cpu::backward<float>(problem, saved, grad_out, grad_rem);
}

}  // namespace rse::ops
