// What each configuration key does in training, as one check per key.
//
// A check sets its key to another value than the default and expects the effect where it arrives: weights after
// updates that are worked out by hand, tokens, losses, files. settings_test.cpp runs them for every key that
// the sections bind, so that a new key without a check fails a test.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/train/observed_run.h"

namespace rse {

using SettingChecks = std::map<std::string, std::function<void()>>;
SettingChecks optimizer_checks();  // keys under train that the weights show
SettingChecks run_checks();        // the other ones under train
SettingChecks data_checks();       // keys under data and validation
SettingChecks writing_checks();    // keys under logging and checkpoint

// The folder of a run of the toy with these settings.
inline std::filesystem::path run_of(const ToyRun& toy, const std::vector<std::string>& settings,
                                    const char* arms = "") {
  static int runs = 0;
  const std::filesystem::path folder = toy.path(fmt::format("run{}", ++runs));
  Trainer trainer(toy.config(arms, settings), toy.train_file(), toy.valid_file(), torch::kCPU);
  std::filesystem::create_directories(folder);
  trainer.run(folder);
  return folder;
}

// The lines of one type in the metrics of such a run.
inline std::vector<nlohmann::json> lines_of_run(const ToyRun& toy, const std::vector<std::string>& settings,
                                                const std::string& type) {
  return metric_lines(run_of(toy, settings), type);
}

inline std::vector<int64_t> steps_of(const std::vector<nlohmann::json>& lines) {
  std::vector<int64_t> steps;
  for (const nlohmann::json& line : lines) steps.push_back(line["step"].get<int64_t>());
  return steps;
}

}  // namespace rse
