// The flags of every program: how they are declared, and how the command line is parsed.
//
// Invariants: no argument is empty, because `--output "$UNSET"` would otherwise mean the default; numbers
// follow the one rule of core/parse_number.h, which CLI11 (clamping, octal) does not know; paths are accepted
// by core/written_path.h; a value is never taken apart ("[a]" is one file). What is refused, by CLI11 as
// well, is a UserError like any other, one line and exit code 2. Order of calls: add_path(), add_paths(),
// add_text(), add_choice(), add_number(), add_numbers(), add_path_list() and CLI11's own calls for flags without a value ->
// parse_flags().
#pragma once

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/enum_names.h"
#include "core/parse_number.h"
#include "core/written_path.h"

namespace rse {

// Throws where a value is missing, so that the next flag was taken for it.
inline void check_flag_value(const std::string& flag, const std::string& value) {
  if (value.starts_with("--")) throw_user_error("{}: '{}': expected a value, found a flag", flag, value);
}

// T: std::string, or a std::optional or vector of it.
template <typename T>
CLI::Option* add_text(CLI::App& app, const std::string& flag, T& value, const std::string& description) {
  return app.add_option(flag, value, description)->check([flag](const std::string& text) {
    check_flag_value(flag, text);
    return std::string();
  });
}

// One of the names; they stand in the help.
template <typename E>
CLI::Option* add_choice(CLI::App& app, const std::string& flag, E& value, const EnumNames<E>& names,
                        const std::string& description) {
  std::vector<std::string> known;
  for (const auto& [name, meaning] : names) known.push_back(name);
  const auto read = [flag, known, names, &value](const std::string& text) {
    check_flag_value(flag, text);
    const auto found = std::find(known.begin(), known.end(), text);
    if (found == known.end())
      throw_user_error("{}: '{}': expected one of {}", flag, text, fmt::join(known, ", "));
    value = names[static_cast<size_t>(found - known.begin())].second;
  };
  return app.add_option_function<std::string>(flag, read, description)
      ->type_name(fmt::format("{}", fmt::join(known, "|")));
}

// T: std::string, std::filesystem::path, or a vector of one of them.
template <typename T>
CLI::Option* add_path(CLI::App& app, const std::string& flag, T& value, const std::string& description) {
  return app.add_option(flag, value, description)->check([flag](const std::string& text) {
    check_flag_value(flag, text);
    check_written_path(flag, text);
    return std::string();
  });
}

// One or more paths behind one flag, which may be repeated.
template <typename T>
CLI::Option* add_paths(CLI::App& app, const std::string& flag, std::vector<T>& values,
                       const std::string& description) {
  constexpr int kMostPaths = 1 << 24;  // CLI11 would take fewer from here on
  return add_path(app, flag, values, description)->expected(1, kMostPaths)->allow_extra_args(false);
}

// T: int64_t, double, or what can be assigned from one of them. N: which of the two is written.
template <typename T, typename N>
CLI::Option* add_number(CLI::App& app, const std::string& flag, T& value, const Range<N>& range,
                        const std::string& description) {
  const auto read = [flag, range, &value](const std::string& text) {
    check_flag_value(flag, text);
    value = static_cast<T>(parse_number(flag, text, range));
  };
  CLI::Option* option = app.add_option_function<std::string>(flag, read, description)->type_name("NUMBER");
  if constexpr (std::is_arithmetic_v<T>) option->default_str(fmt::format("{}", value));
  return option;
}

// One or more items with commas or spaces between them; read(text) gives each. `type` stands in the help.
template <typename V, typename Read>
CLI::Option* add_list(CLI::App& app, const std::string& flag, std::vector<V>& values, const Read& read,
                      const std::string& type, const std::string& description) {
  constexpr int kMostItems = 1 << 16;
  const auto read_all = [flag, read, &values](const std::vector<std::string>& texts) {
    values.clear();
    for (const std::string& text : texts) {
      check_flag_value(flag, text);
      for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        values.push_back(read(text.substr(begin, end - begin)));
        begin = end + 1;
      }
    }
  };
  return app.add_option_function<std::vector<std::string>>(flag, read_all, description)
      ->expected(1, kMostItems)
      ->allow_extra_args(false)
      ->type_name(type + ",...")
      ->default_str(fmt::format("{}", fmt::join(values, ",")));
}

template <typename N>
CLI::Option* add_numbers(CLI::App& app, const std::string& flag, std::vector<N>& values,
                         const Range<N>& range, const std::string& description) {
  const auto read = [flag, range](const std::string& text) { return parse_number(flag, text, range); };
  return add_list(app, flag, values, read, "NUMBER", description);
}

inline CLI::Option* add_path_list(CLI::App& app, const std::string& flag, std::vector<std::string>& values,
                                  const std::string& description) {
  const auto read = [flag](const std::string& text) {
    check_written_path(flag, text);
    return text;
  };
  return add_list(app, flag, values, read, "TEXT", description);
}

// Returns false where the program has nothing more to do, because it printed --help or --version.
inline bool parse_flags(CLI::App& app, int argc, char** argv) {
  std::string flag;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (!flag.starts_with("--")) flag = fmt::format("argument {}", i);
    if (argument.starts_with("--")) flag = argument.substr(0, argument.find('='));
    if (argument.empty() || argument == flag + "=") {
      throw_user_error("{}: '': expected a value, found nothing (an unset variable?)", flag);
    }
  }
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
