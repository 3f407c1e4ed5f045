// What a changed configuration means for a run that goes on.
#pragma once

#include <string>
#include <vector>

#include "run/run_config.h"

namespace rse {

// A key with another value in effect. Keys of arms: "arms.NAME.model.width"; "arms": their names, in order.
struct ConfigChange {
  std::string key, before, after;
  KeyRule rule;  // of an arm's key: that of the key which it overrides
};

// Every key whose value in effect differs; both with resolve_vocabulary() applied.
std::vector<ConfigChange> config_changes(const RunConfig& before, const RunConfig& after);

// UserError naming key, old and new value where a change would make the run another one. Returns the
// warnings, one line each, that the other changes are worth. run_key_rules() says which keys may change.
std::vector<std::string> check_config_changes(const RunConfig& before, const RunConfig& after);

}  // namespace rse
