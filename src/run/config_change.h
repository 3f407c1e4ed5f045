// What a changed configuration means for a run that goes on.
#pragma once

#include <string>
#include <vector>

#include "run/run_config.h"

namespace rse {

// A key with another value in effect. Keys of arms: "arms.NAME.model.width"; "arms": their names, in order.
struct ConfigChange {
  std::string key, before, after;
};

// Every key whose value in effect differs; both with resolve_vocabulary() applied.
std::vector<ConfigChange> config_changes(const RunConfig& before, const RunConfig& after);

// UserError naming key, old and new value where a change would make the run another one. Allowed: logging.*,
// checkpoint.*, output, train.peak_tflops; and with a warning (returned, a line each) train.steps,
// train.device and train.threads.
std::vector<std::string> check_config_changes(const RunConfig& before, const RunConfig& after);

}  // namespace rse
