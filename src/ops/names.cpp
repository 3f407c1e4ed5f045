#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/enum_names.h"
#include "ops/attention.h"

namespace rse {
namespace {

template <typename Enum>
Enum parse(const char* argument, const std::string& name, const EnumNames<Enum>& names) {
  std::string expected;
  for (size_t n = 0; n < names.size(); ++n) {
    if (name == names[n].first) return names[n].second;
    expected += fmt::format("{}'{}'", n == 0 ? "" : n + 1 < names.size() ? ", " : " or ", names[n].first);
  }
  throw_user_error("attention: {} is '{}', expected {}", argument, name, expected);
}

template <typename Enum>
const char* name_of(Enum value, const EnumNames<Enum>& names) {
  for (const auto& [name, known] : names) {
    if (value == known) return name.c_str();
  }
  throw std::logic_error("an enumerator without a name");
}

}  // namespace

const std::vector<std::pair<std::string, Mass>>& mass_names() {
  static const EnumNames<Mass> kNames = {{"per_side", Mass::kPerSide}, {"shared", Mass::kShared}};
  return kNames;
}

const std::vector<std::pair<std::string, Remainder>>& remainder_names() {
  static const EnumNames<Remainder> kNames = {{"drop", Remainder::kDrop}, {"self", Remainder::kSelf}};
  return kNames;
}

const std::vector<std::pair<std::string, Backend>>& backend_names() {
  static const EnumNames<Backend> kNames = {{"auto", Backend::kAuto},
                                            {"reference", Backend::kReference},
                                            {"portable", Backend::kPortable},
                                            {"hopper", Backend::kHopper}};
  return kNames;
}

Mass parse_mass(const std::string& name) { return parse("mass", name, mass_names()); }
Remainder parse_remainder(const std::string& name) { return parse("remainder", name, remainder_names()); }
Backend parse_backend(const std::string& name) { return parse("backend", name, backend_names()); }
const char* to_string(Mass mass) { return name_of(mass, mass_names()); }
const char* to_string(Remainder remainder) { return name_of(remainder, remainder_names()); }
const char* to_string(Backend backend) { return name_of(backend, backend_names()); }

}  // namespace rse
