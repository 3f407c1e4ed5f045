// Where the results of an evaluation go: RUN/evaluation-N, or the folder that --output names.
//
// A name is taken at the moment in which the complete results get it, so of several evaluations that end at once
// each has its own, and none replaces or loses what another made. Invariants: a folder of such a name holds
// everything that its evaluation wrote; results that are complete are never removed. Order of calls:
// EvaluationFolder -> take_care_of_leftovers() -> make().
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace rse {

class EvaluationFolder {
 public:
  // wanted: a folder that does not exist; empty: run_folder/evaluation-N with the first N that is free when the
  // results are there. UserError where it exists or could not be made.
  EvaluationFolder(std::filesystem::path run_folder, const std::string& wanted);

  // Looks for what evaluations of these names left when they were killed while they wrote. Complete results get
  // the next free name, unfinished ones are removed, and the log says so. Those of processes that still run are
  // left alone; where the file system cannot tell (it has no locks), they are named only.
  void take_care_of_leftovers() const;

  struct Made {
    std::filesystem::path folder;
    bool as_wanted = true;  // false: --output's folder appeared meanwhile, so `folder` bears another name
  };
  // Calls write(temporary folder), then names it. Where write throws, nothing stays. UserError where complete
  // results cannot be renamed: they stay in the temporary folder, which the message names.
  Made make(const std::function<void(const std::filesystem::path&)>& write) const;

 private:
  // The n-th name to try, from 1: evaluation-n; or the wanted one, then that with -2, -3, ... after it.
  std::filesystem::path candidate(int64_t n) const;
  std::vector<std::filesystem::path> leftovers() const;
  void take_care_of(const std::filesystem::path& leftover) const;
  // Gives `folder` the first free name from the n-th on.
  std::filesystem::path name_folder(const std::filesystem::path& folder, int64_t n) const;

  std::filesystem::path run_folder_, wanted_;
};

}  // namespace rse
