// Paths as a user wrote them, in a configuration or behind a flag.
//
// Shells expand `~` and `$NAME` only in some places (not in `--output=~/x`, not in a file), and an unset
// variable leaves an empty argument. Taken as they are, such paths would make a folder called `~` or mean the
// default, so they are refused.
#pragma once

#include <string>

namespace rse {

// Throws a UserError that begins with `place` (it names the key or the flag) where `path` is blank, begins
// with '~', or has a '$NAME' or '${NAME}' in it and no such file exists. "./~" is a file called "~".
void check_written_path(const std::string& place, const std::string& path);

}  // namespace rse
