// Compares two runs: everything that a run leaves behind, except measurements of time and memory.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>

#include "core/file.h"
#include "tests/support.h"

namespace rse {

// Returns `value` without what depends on how long things took and on what the process had allocated before:
// the first run of a process pays for the workspaces of libraries, which a resumed run finds in place.
inline nlohmann::json without_measurements(const nlohmann::json& value) {
  static const std::set<std::string> kMeasured = {"step_ms",
                                                  "step_times_ms",
                                                  "metrics_bytes",
                                                  "step_ms_median",
                                                  "step_ms_interquartile_range",
                                                  "tokens_per_second",
                                                  "mfu",
                                                  "process_peak_bytes",
                                                  "peak_bytes",
                                                  "memory_bytes"};
  if (!value.is_structured()) return value;
  nlohmann::json kept = value.is_array() ? nlohmann::json::array() : nlohmann::json::object();
  for (const auto& [key, item] : value.items()) {
    if (value.is_array()) {
      kept.push_back(without_measurements(item));
    } else if (!kMeasured.contains(key)) {
      kept[key] = without_measurements(item);
    }
  }
  return kept;
}

// Returns the part of a file that may be compared.
inline std::string comparable(const std::filesystem::path& path) {
  const std::string content = read_file(path);
  if (path.extension() == ".json") return without_measurements(nlohmann::json::parse(content)).dump();
  if (path.extension() != ".jsonl") return content;
  std::string text, line;
  for (std::istringstream lines(content); std::getline(lines, line);) {
    text += without_measurements(nlohmann::json::parse(line)).dump() + "\n";
  }
  return text;
}

// Returns the run's files by relative path, except those that hold only times (log, event files) or checksums
// of measurements (COMPLETE), and config.yaml, which holds paths.
inline std::map<std::string, std::string> run_content(const std::filesystem::path& run) {
  std::map<std::string, std::string> content;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(run)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name == "COMPLETE" || name == "log.txt" || name == "run.lock" ||
        name == "config.yaml" || name.find("tfevents") != std::string::npos) {
      continue;
    }
    content[std::filesystem::relative(entry.path(), run).string()] = comparable(entry.path());
  }
  return content;
}

// Fails the test where weights, optimizer state, counters, metrics or summary differ, or where one run has a
// file that the other lacks.
inline void expect_same_run(const std::filesystem::path& expected, const std::filesystem::path& found) {
  const auto a = run_content(expected), b = run_content(found);
  for (const auto& [name, content] : a) {
    EXPECT_TRUE(b.contains(name)) << name << " is missing in " << found;
    EXPECT_TRUE(!b.contains(name) || content == b.at(name)) << name << " differs in " << found;
  }
  for (const auto& [name, content] : b) EXPECT_TRUE(a.contains(name)) << name << " is only in " << found;
}

}  // namespace rse
