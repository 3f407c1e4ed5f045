#include "bench/kernel_kind.h"

#include <algorithm>
#include <optional>

#include "nn/step_ranges.h"

namespace rse {
namespace {

struct Rule {
  KernelKind kind;
  std::vector<std::string_view> parts;  // one of them is in the name
};

bool has_part(const Rule& rule, std::string_view name) {
  return std::any_of(rule.parts.begin(), rule.parts.end(),
                     [&](std::string_view part) { return name.find(part) != std::string_view::npos; });
}

// These decide wherever their parts stand, in the name or in an enclosing range, in this order. In the
// encoder batched products and softmax outside the head belong to attention.
const std::vector<Rule>& enclosing_rules() {
  static const std::vector<Rule> kRules = {
      {KernelKind::kOptimizer, {kOptimizerRange, "adam", "Adam", "multi_tensor_apply", "_foreach_"}},
      {KernelKind::kHead,
       {kHeadRange, "MaskedLmNll", "TargetNll", "cross_entropy", "nll_loss", "logsumexp", "log_softmax"}},
      {KernelKind::kAttention, {"attention",
                                "Attention",
                                "fmha",
                                "flash",
                                "sdpa",
                                "aten::bmm",
                                "aten::baddbmm",
                                "BmmBackward",
                                "softmax",
                                "Softmax",
                                "SoftMax",
                                "rse::hopper::",
                                "rse::portable::",
                                "rse::float32::",
                                "find_key_norms",
                                "plan_blocks",
                                "plan_heads",
                                "prepare_forward",
                                "prepare_backward",
                                "finish_backward",
                                "finish_tiled",
                                "sort_by_bucket",
                                "sums_decay"}},
  };
  return kRules;
}

// These decide by the name alone, in this order.
const std::vector<Rule>& name_rules() {
  static const std::vector<Rule> kRules = {
      {KernelKind::kCopy, {"Memcpy", "Memset", "FillFunctor", "CatArray"}},
      {KernelKind::kGemm,
       {"gemm", "Gemm", "GEMM", "gemv", "cutlass", "nvjet", "cublas", "splitK", "aten::mm", "aten::addmm",
        "aten::linear", "aten::matmul", "aten::mkldnn_linear", "AddmmBackward", "MmBackward",
        "LinearBackward"}},
      {KernelKind::kElementWise,
       {"norm",
        "Norm",
        "GammaBeta",
        "gelu",
        "Gelu",
        "GELU",
        "silu",
        "dropout",
        "Dropout",
        "rotar",
        "Rotar",
        "rotat",
        "Rotat",
        "elementwise",
        "reduce_kernel",
        "aten::add",
        "aten::sub",
        "aten::mul",
        "aten::div",
        "aten::sum",
        "aten::exp",
        "aten::where",
        "aten::masked_fill",
        "AddBackward",
        "MulBackward"}},
      {KernelKind::kCopy,
       {"aten::copy_", "aten::clone", "aten::contiguous", "aten::cat", "aten::fill_", "aten::zero",
        "aten::to", "aten::_to_copy"}},
  };
  return kRules;
}

std::optional<KernelKind> kind_by_name(std::string_view name) {
  for (const Rule& rule : name_rules()) {
    if (has_part(rule, name)) return rule.kind;
  }
  return std::nullopt;
}

bool encloses(const std::vector<std::string>& ranges, std::string_view part) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const std::string& range) { return range.find(part) != std::string::npos; });
}

}  // namespace

const char* kind_name(KernelKind kind) {
  static constexpr std::array<const char*, kKernelKinds> kNames = {
      "GEMM", "attention", "element-wise", "MLM head and loss", "optimizer", "copies", "other"};
  return kNames[static_cast<size_t>(kind)];
}

const char* phase_name(StepPhase phase) {
  static constexpr std::array<const char*, kStepPhases> kNames = {"forward", "backward", "optimizer",
                                                                  "outside"};
  return kNames[static_cast<size_t>(phase)];
}

KernelKind kind_of(std::string_view name, const std::vector<std::string>& ranges) {
  for (const Rule& rule : enclosing_rules()) {
    if (has_part(rule, name)) return rule.kind;
    for (const std::string& range : ranges) {
      if (has_part(rule, range)) return rule.kind;
    }
  }
  if (const auto kind = kind_by_name(name)) return *kind;
  for (const std::string& range : ranges) {
    if (const auto kind = kind_by_name(range)) return *kind;
  }
  return KernelKind::kOther;
}

StepPhase phase_of(const std::vector<std::string>& ranges) {
  if (encloses(ranges, kOptimizerRange)) return StepPhase::kOptimizer;
  // Under CUDA, backward runs in a thread of autograd's, which the range of the calling thread does not enclose.
  if (encloses(ranges, kBackwardRange) || encloses(ranges, "autograd::engine::evaluate_function")) {
    return StepPhase::kBackward;
  }
  return encloses(ranges, kForwardRange) ? StepPhase::kForward : StepPhase::kOutside;
}

}  // namespace rse
