// The keys in which two configurations differ, and what that means for a run that goes on.
//
// Order of calls: resolve_vocabulary() on both configurations -> config_changes() or check_config_changes().
#pragma once

#include <string>
#include <vector>

#include "run/run_config.h"

namespace rse {

// A key with another value in effect. An arm's own keys are named "arms.NAME.model.width"; "arms" stands for
// the names of the arms, in order.
struct ConfigChange {
  std::string key, before, after;
  KeyRule rule;  // an arm's key has the rule of the key that it overrides
};

// Every key whose value in effect differs.
std::vector<ConfigChange> config_changes(const RunConfig& before, const RunConfig& after);

// UserError naming key, old and new value where a change would make the run another one. Returns the
// warnings, one line each, that the other changes are worth. run_key_rules() says which keys may change.
std::vector<std::string> check_config_changes(const RunConfig& before, const RunConfig& after);

}  // namespace rse
