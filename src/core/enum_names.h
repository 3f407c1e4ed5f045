// The written names of an enumeration's values: one list beside the enumeration, for configurations and
// flags.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace rse {

template <typename E>
using EnumNames = std::vector<std::pair<std::string, E>>;

}  // namespace rse
