// The reference backend: documents of one length form one batch of sequences, each side of the queries goes
// through reference_side.h, and what remains here is the query's own key (src/ops/README.md sections 1 and
// 3).
#include <ATen/Context.h>

#include <map>

#include "ops/attention_problem.h"
#include "ops/reference_side.h"

namespace rse::ops {
namespace {

using torch::Tensor;

// Documents of one length. Where they lie one after another they are a slice of seq, else an index.
class DocumentGroup {
 public:
  DocumentGroup(int64_t length, const std::vector<int64_t>& starts, const torch::Device& device)
      : length_(length), first_(starts.front()), documents_(static_cast<int64_t>(starts.size())) {
    for (int64_t document = 0; document < documents_; ++document) {
      contiguous_ = contiguous_ && starts[document] == first_ + document * length;
    }
    if (contiguous_) return;
    const Tensor begins = torch::tensor(starts, torch::kInt64).unsqueeze(1);
    index_ = (begins + torch::arange(length, torch::kInt64)).flatten().to(device);
  }

  int64_t length() const { return length_; }

  // [batch, seq, heads, n] -> [batch * documents, length, heads, n]
  Tensor gather(const Tensor& x) const {
    const Tensor tokens = contiguous_ ? x.narrow(1, first_, documents_ * length_) : x.index_select(1, index_);
    return tokens.reshape({x.size(0) * documents_, length_, x.size(2), x.size(3)});
  }

  // The way back, from [batch * documents * heads, length, n].
  void scatter(const Tensor& sequences, Tensor& x) const {
    const Tensor tokens = sequences.view({x.size(0), documents_, x.size(2), length_, x.size(3)})
                              .transpose(2, 3)
                              .reshape({x.size(0), documents_ * length_, x.size(2), x.size(3)});
    if (contiguous_) {
      x.narrow(1, first_, documents_ * length_).copy_(tokens);
    } else {
      x.index_copy_(1, index_, tokens);
    }
  }

 private:
  int64_t length_, first_, documents_;
  bool contiguous_ = true;
  Tensor index_;
};

std::vector<DocumentGroup> group_documents(const AttentionProblem& problem) {
  std::map<int64_t, std::vector<int64_t>> starts_by_length;
  for (size_t document = 0; document + 1 < problem.borders.size(); ++document) {
    const int64_t start = problem.borders[document];
    starts_by_length[problem.borders[document + 1] - start].push_back(start);
  }
  std::vector<DocumentGroup> groups;
  for (const auto& [length, starts] : starts_by_length) {
    if (length > 0) groups.emplace_back(length, starts, problem.query.device());
  }
  return groups;
}

// [S, length, heads, n] -> [S * heads, length, n]
Tensor heads_first(const Tensor& x) { return x.transpose(1, 2).contiguous().flatten(0, 1); }

torch::ScalarType compute_dtype(const AttentionProblem& problem) {
  return problem.query.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

// Side 0 holds the keys before a query: keys after it, once the sequences are reversed. Its own inverse.
Tensor in_side_order(int64_t side, const Tensor& x) { return side == 0 ? x.flip(1) : x; }

// What one group's forward and backward share. S = batch * documents * heads.
struct Sequences {
  SideInput input;        // query is scaled by -scale
  Tensor self_weight;     // A_ii [S, L, 1]; 0 where self_key is off
  Tensor one_minus_self;  // 1 - A_ii [S, L, 1]
  Tensor stick_start;     // r_i, the same for every side [S, L, 1]

  SideInput side(int64_t side) const {
    return {in_side_order(side, input.query), in_side_order(side, input.key),
            in_side_order(side, input.value), input.decay, input.window};
  }
};

Sequences load_sequences(const AttentionProblem& problem, const DocumentGroup& group) {
  const auto dtype = compute_dtype(problem);
  const AttentionOptions& options = problem.options;
  Tensor query = group.gather(problem.query).to(dtype);
  Tensor key = group.gather(problem.key).to(dtype);
  if (options.rotary_base > 0) {
    query = apply_rotary(query, {0, group.length()}, options.rotary_base);
    key = apply_rotary(key, {0, group.length()}, options.rotary_base);
  }
  Sequences s;
  s.input.query = heads_first(query * -problem.scale);
  s.input.key = heads_first(key);
  s.input.value = heads_first(group.gather(problem.value).to(dtype));
  s.input.decay = problem.decay.to(dtype).repeat({query.size(0)});
  s.input.window = options.window;

  const Tensor negated = (s.input.query * s.input.key).sum(2, /*keepdim=*/true);  // -x_ii; distance 0
  s.self_weight = options.self_key ? torch::sigmoid(-negated) : torch::zeros_like(negated);
  s.one_minus_self = options.self_key ? torch::sigmoid(negated) : torch::ones_like(negated);
  s.stick_start = options.mass == Mass::kShared ? s.one_minus_self / static_cast<double>(problem.sides())
                                                : torch::ones_like(negated);
  return s;
}

// How many keys each stick meets: all of its side within the window and the document. [S, L, sides]
Tensor full_extent(const AttentionProblem& problem, const DocumentGroup& group, int64_t sequences) {
  const Tensor position =
      torch::arange(group.length(), torch::dtype(torch::kInt32).device(problem.query.device()));
  Tensor extent = position.unsqueeze(1);
  if (problem.sides() == 2) extent = torch::stack({position, group.length() - 1 - position}, 1);
  if (problem.options.window > 0) extent = extent.clamp_max(problem.options.window - 1);
  return extent.repeat({sequences, 1, 1});
}

struct GroupGradients {
  Tensor query, key, value;  // [S, L, head_dim], in the rotated frame
  Tensor decay;              // [S]
};

// The gradients of src/ops/README.md section 3. grad_out [S, L, head_dim]; rem and grad_rem [S, L, sides],
// grad_rem undefined for zero.
GroupGradients backward_group(const AttentionProblem& problem, const Sequences& s, const Tensor& grad_out,
                              const Tensor& rem, const Tensor& grad_rem) {
  const bool to_self = problem.options.remainder == Remainder::kSelf;
  const Tensor grad_self = (grad_out * s.input.value).sum(2, /*keepdim=*/true);  // dA_ii
  Tensor end_terms = torch::zeros_like(rem);
  if (grad_rem.defined()) end_terms.addcmul_(rem, grad_rem);
  if (to_self) end_terms.addcmul_(rem, grad_self);

  GroupGradients grad{torch::zeros_like(s.input.query), torch::zeros_like(s.input.key),
                      s.self_weight * grad_out, torch::zeros_like(s.input.decay)};
  if (to_self) grad.value.addcmul_(rem.sum(2, /*keepdim=*/true), grad_out);

  Tensor farther = torch::zeros_like(s.self_weight);  // T_ii
  for (int64_t side = 0; side < problem.sides(); ++side) {
    const SideGradients part = side_backward(s.side(side), in_side_order(side, s.stick_start * grad_out),
                                             in_side_order(side, end_terms.select(2, side)));
    grad.query.add_(in_side_order(side, part.query));
    grad.key.add_(in_side_order(side, part.key));
    grad.value.add_(in_side_order(side, part.value));
    grad.decay.add_(part.decay);
    if (problem.options.mass == Mass::kShared) farther.add_(in_side_order(side, part.total).unsqueeze(2));
  }

  // dx_ii = t_ii (1 - beta_ii) - beta_ii T_ii; input.query is -scale * query.
  const Tensor grad_logit = s.self_weight * (grad_self * s.one_minus_self - farther);
  grad.query.addcmul_(grad_logit, s.input.key).mul_(problem.scale);
  grad.key.addcmul_(grad_logit, s.input.query, -1);
  return grad;
}

}  // namespace

ForwardResult forward_reference(const AttentionProblem& problem) {
  const at::NoTF32Guard full_precision;
  const auto options = problem.query.options().dtype(compute_dtype(problem));
  const int64_t batch = problem.batch(), seq = problem.seq(), heads = problem.heads(),
                sides = problem.sides();
  Tensor out = torch::empty({batch, seq, heads, problem.head_dim()}, options);
  Tensor rem = torch::empty({batch, seq, heads, sides}, options);
  Tensor extent = torch::empty({batch, seq, heads, sides}, options.dtype(torch::kInt32));
  for (const DocumentGroup& group : group_documents(problem)) {
    const Sequences s = load_sequences(problem, group);
    Tensor group_out = s.self_weight * s.input.value;
    std::vector<Tensor> group_rem;
    for (int64_t side = 0; side < sides; ++side) {
      const SideOutput part = side_forward(s.side(side));
      group_out.addcmul_(s.stick_start, in_side_order(side, part.out));
      group_rem.push_back(s.stick_start * in_side_order(side, part.stick).unsqueeze(2));
      if (problem.options.remainder == Remainder::kSelf) group_out.addcmul_(group_rem.back(), s.input.value);
    }
    group.scatter(group_out, out);
    group.scatter(torch::cat(group_rem, 2), rem);
    group.scatter(full_extent(problem, group, group_out.size(0)), extent);
  }
  return {out.to(problem.query.scalar_type()),
          rem.transpose(1, 2).contiguous(),
          extent.transpose(1, 2).contiguous(),
          {}};
}

Gradients backward_reference(const AttentionProblem& problem, const ForwardResult& saved,
                             const Tensor& grad_out, const Tensor& grad_rem) {
  const at::NoTF32Guard full_precision;
  const auto dtype = compute_dtype(problem);
  const auto options = problem.query.options().dtype(dtype);
  Tensor query = torch::empty(problem.query.sizes(), options);
  Tensor key = torch::empty_like(query), value = torch::empty_like(query);
  Tensor decay = torch::zeros({problem.heads()}, options);
  for (const DocumentGroup& group : group_documents(problem)) {
    const Sequences s = load_sequences(problem, group);
    const auto sticks = [&](const Tensor& x) { return heads_first(group.gather(x.transpose(1, 2))); };
    const GroupGradients grad =
        backward_group(problem, s, heads_first(group.gather(grad_out).to(dtype)), sticks(saved.rem),
                       grad_rem.defined() ? sticks(grad_rem) : Tensor());
    group.scatter(grad.query, query);
    group.scatter(grad.key, key);
    group.scatter(grad.value, value);
    decay.add_(grad.decay.view({-1, problem.heads()}).sum(0));
  }
  if (problem.options.rotary_base > 0) {
    query = apply_rotary(query, problem.borders, problem.options.rotary_base, /*inverse=*/true);
    key = apply_rotary(key, problem.borders, problem.options.rotary_base, /*inverse=*/true);
  }
  const auto input_dtype = problem.query.scalar_type();
  return {query.to(input_dtype), key.to(input_dtype), value.to(input_dtype),
          decay.to(problem.decay.scalar_type())};
}

}  // namespace rse::ops
