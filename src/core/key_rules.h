// What may be done to a configuration key beyond setting it for a new run. It is said once, where the key is
// bound, and asked wherever two configurations meet: a resumed run, combined evaluations, the arms of a run.
//
// Invariant: what is not said is not allowed, so a new key may not change until its bind() says otherwise.
// Order of calls: key_rules_of<T>() of core/config_binder.h collects the rules -> at() for one key, list()
// for a message.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rse {

struct KeyRule {
  bool resume_may_change = false;    // by a run that goes on from a checkpoint
  const char* resume_price = "";     // the warning that such a change is worth; "": none
  const char* condition = "";        // what is expected of the new value and checked elsewhere, for messages
  bool combined_may_differ = false;  // between evaluations that are combined into one
  bool arm_may_override = false;     // the arms of one run may have different values
};

class KeyRules {
 public:
  // pattern: a key such as "train.steps", or "model.*" for all keys below a section.
  void add(std::string pattern, const KeyRule& rule);

  // The rule in effect for a key: what was said of it and of the sections that it is in, together. Keys that
  // nothing was said of, unknown ones among them, have the default rule.
  KeyRule at(std::string_view key) const;

  // The patterns that allow something, in the order in which they were bound, as a list in a sentence:
  // "train.steps, data.train (to the same tokens elsewhere) and logging.*". list(&KeyRule::arm_may_override).
  std::string list(bool KeyRule::*permission) const;

  const std::vector<std::pair<std::string, KeyRule>>& all() const { return rules_; }

 private:
  std::vector<std::pair<std::string, KeyRule>> rules_;  // pattern, rule
};

}  // namespace rse
