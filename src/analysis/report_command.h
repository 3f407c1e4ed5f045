// Draws the report of an evaluation: runs scripts/report.py with a Python that has matplotlib. No Torch.
//
// Which Python and which script: fixed when the build is configured (set-up finds or makes the Python); the
// environment variable RSE_REPORT_PYTHON names another Python. An installed program finds the script beside
// itself, in ../share/rse/scripts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace rse {

// Writes evaluation_folder/report.html and returns its path. run_folders: where metrics.jsonl lies. Throws
// std::runtime_error where it cannot be drawn: the reason in one line, and the command that draws it
// later. What lies in evaluation_folder is left as it is.
std::filesystem::path draw_report(const std::filesystem::path& evaluation_folder,
                                  const std::vector<std::filesystem::path>& run_folders);

// The command, for a shell: "python3 scripts/report.py runs/a/evaluation-1 --run runs/a".
std::string report_command(const std::filesystem::path& evaluation_folder,
                           const std::vector<std::filesystem::path>& run_folders);

}  // namespace rse
