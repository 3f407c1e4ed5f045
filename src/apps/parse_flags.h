// Command lines of every program: what CLI11 refuses is a UserError like any other, one line with exit
// code 2.
#pragma once

#include <CLI/CLI.hpp>

#include "core/check.h"

namespace rse {

// False where the program has nothing more to do: --help or --version was asked for, and is printed.
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
