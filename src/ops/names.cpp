#include <array>
#include <string>
#include <utility>

#include "core/check.h"
#include "ops/attention.h"
#include "ops/attention_problem.h"

namespace rse {
namespace {

template <typename Enum>
using Names = std::array<std::pair<const char*, Enum>, 2>;

constexpr Names<Mass> kMassNames{{{"per_side", Mass::kPerSide}, {"shared", Mass::kShared}}};
constexpr Names<Remainder> kRemainderNames{{{"drop", Remainder::kDrop}, {"self", Remainder::kSelf}}};
constexpr Names<Backend> kBackendNames{{{"auto", Backend::kAuto}, {"reference", Backend::kReference}}};

template <typename Enum>
Enum parse(const char* argument, const std::string& name, const Names<Enum>& names) {
  for (const auto& [known, value] : names) {
    if (name == known) return value;
  }
  throw_user_error("attention: {} is '{}', expected '{}' or '{}'", argument, name, names[0].first,
                   names[1].first);
}

template <typename Enum>
const char* name_of(Enum value, const Names<Enum>& names) {
  return value == names[0].second ? names[0].first : names[1].first;
}

}  // namespace

Mass parse_mass(const std::string& name) { return parse("mass", name, kMassNames); }
Remainder parse_remainder(const std::string& name) { return parse("remainder", name, kRemainderNames); }
Backend parse_backend(const std::string& name) { return parse("backend", name, kBackendNames); }
const char* to_string(Mass mass) { return name_of(mass, kMassNames); }
const char* to_string(Remainder remainder) { return name_of(remainder, kRemainderNames); }
const char* to_string(Backend backend) { return name_of(backend, kBackendNames); }

std::string describe_backend(Backend backend, const torch::Device& device) {
  if (backend == Backend::kAuto && device.is_cpu()) {
    return fmt::format("cpu kernel ({})", ops::cpu_instruction_set());
  }
  return "reference (composed LibTorch operators)";
}

}  // namespace rse
