// Losses that are made by hand, for tests of the analysis.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "analysis/target_losses.h"

namespace rse {

// The NLL of a target, given the index of the target and its document.
using LossRule = std::function<float(int64_t target, int64_t document)>;

inline LengthLosses losses_by_rule(const TargetPlaces& places, int64_t length, int64_t window,
                                   const LossRule& rule) {
  LengthLosses losses;
  losses.length = length;
  losses.attention_window = window;
  losses.seconds = 1;
  for (int64_t i = 0; i < places.size(); ++i) {
    losses.nll.push_back(rule(i, places.documents[static_cast<size_t>(i)]));
  }
  return losses;
}

// Places `each` targets in each of `documents` documents, at offsets below 64.
inline TargetPlaces even_places(int64_t documents, int64_t each) {
  TargetPlaces places;
  for (int64_t d = 0; d < documents; ++d) {
    for (int64_t i = 0; i < each; ++i) {
      places.documents.push_back(d);
      places.offsets.push_back(i * 7 % 64);
    }
  }
  return places;
}

// Full attention at 8, 16 and 64 tokens and the control (window 4). The NLL is `base` at 8; at longer lengths
// `change` is added, which varies a little between documents. The control's NLL is `base` everywhere.
inline ReplicaLosses simple_replica(const TargetPlaces& places, std::string arm, uint64_t seed, double base,
                                    double change) {
  ReplicaLosses replica;
  replica.arm = std::move(arm);
  replica.seed = seed;
  const auto rule = [&](double shift) {
    return [base, shift](int64_t, int64_t document) {
      return static_cast<float>(base + shift * (1 + 0.1 * static_cast<double>(document % 3)));
    };
  };
  for (int64_t window : {0, 4}) {
    for (int64_t length : {8, 16, 64}) {
      replica.lengths.push_back(
          losses_by_rule(places, length, window, rule(window == 0 && length > 8 ? change : 0)));
    }
  }
  return replica;
}

}  // namespace rse
