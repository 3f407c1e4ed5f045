// Parses the command line of every program. What CLI11 refuses is a UserError like any other, one line and
// exit code 2.
#pragma once

#include <CLI/CLI.hpp>

#include "core/check.h"

namespace rse {

// Returns false where the program has nothing more to do, because it printed --help or --version.
inline bool parse_flags(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) throw_user_error("{} (see {} --help)", error.what(), app.get_name());
    app.exit(error);
    return false;
  }
  return true;
}

}  // namespace rse
