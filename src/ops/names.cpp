#include <array>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/check.h"
#include "ops/attention.h"

namespace rse {
namespace {

template <typename Enum, size_t kCount>
using Names = std::array<std::pair<const char*, Enum>, kCount>;

constexpr Names<Mass, 2> kMassNames{{{"per_side", Mass::kPerSide}, {"shared", Mass::kShared}}};
constexpr Names<Remainder, 2> kRemainderNames{{{"drop", Remainder::kDrop}, {"self", Remainder::kSelf}}};
constexpr Names<Backend, 4> kBackendNames{{{"auto", Backend::kAuto},
                                           {"reference", Backend::kReference},
                                           {"portable", Backend::kPortable},
                                           {"hopper", Backend::kHopper}}};

template <typename Enum, size_t kCount>
Enum parse(const char* argument, const std::string& name, const Names<Enum, kCount>& names) {
  std::string expected;
  for (size_t n = 0; n < kCount; ++n) {
    if (name == names[n].first) return names[n].second;
    expected += fmt::format("{}'{}'", n == 0 ? "" : n + 1 < kCount ? ", " : " or ", names[n].first);
  }
  throw_user_error("attention: {} is '{}', expected {}", argument, name, expected);
}

template <typename Enum, size_t kCount>
const char* name_of(Enum value, const Names<Enum, kCount>& names) {
  for (const auto& [name, known] : names) {
    if (value == known) return name;
  }
  throw std::logic_error("an enumerator without a name");
}

}  // namespace

Mass parse_mass(const std::string& name) { return parse("mass", name, kMassNames); }
Remainder parse_remainder(const std::string& name) { return parse("remainder", name, kRemainderNames); }
Backend parse_backend(const std::string& name) { return parse("backend", name, kBackendNames); }
const char* to_string(Mass mass) { return name_of(mass, kMassNames); }
const char* to_string(Remainder remainder) { return name_of(remainder, kRemainderNames); }
const char* to_string(Backend backend) { return name_of(backend, kBackendNames); }

}  // namespace rse
