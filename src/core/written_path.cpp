#include "core/written_path.h"

#include <cctype>
#include <filesystem>

#include "core/check.h"
#include "core/parse_number.h"

namespace rse {
namespace {

// The first "$NAME" or "${NAME..." in `path`; empty where there is none.
std::string variable_in(const std::string& path) {
  for (size_t at = path.find('$'); at != std::string::npos; at = path.find('$', at + 1)) {
    size_t end = at + 1;
    const bool braces = end < path.size() && path[end] == '{';
    if (braces) ++end;
    const size_t name = end;
    while (end < path.size() &&
           (std::isalnum(static_cast<unsigned char>(path[end])) != 0 || path[end] == '_')) {
      ++end;
    }
    if (end == name || std::isdigit(static_cast<unsigned char>(path[name])) != 0) continue;
    return path.substr(at, end - at + (braces && end < path.size() && path[end] == '}' ? 1 : 0));
  }
  return "";
}

}  // namespace

void check_written_path(const std::string& place, const std::string& path) {
  const std::string shown = cut_for_message(path);
  if (path.find_first_not_of(" \t\r\n") == std::string::npos) {
    throw_user_error("{}: '{}': expected a path, found nothing in it (an unset variable?)", place, shown);
  }
  if (path.front() == '~') {
    throw_user_error(
        "{}: '{}': '~' is not expanded here: expected the folder written out (or ./~ for a file of that "
        "name)",
        place, shown);
  }
  const std::string variable = variable_in(path);
  std::error_code ignored;
  if (!variable.empty() && !std::filesystem::exists(path, ignored)) {
    throw_user_error("{}: '{}': '{}' is not expanded here: expected the path with its value written out",
                     place, shown, variable);
  }
}

}  // namespace rse
