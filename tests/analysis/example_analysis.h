// Analyses of losses that are made by hand.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "analysis/analysis.h"
#include "tests/analysis/example_losses.h"

namespace rse {

inline constexpr double kEntropy = 6.0;
inline const BootstrapSettings kQuick{500, 1};

// arms: names, each with its change beyond the trained 8 tokens (see simple_replica). The seeds are 1 to
// `seeds`.
inline Analysis analysis_of_changes(const std::vector<std::pair<std::string, double>>& arms, uint64_t seeds,
                                    double base = 3.0) {
  const TargetPlaces places = even_places(40, 6);
  std::vector<ReplicaLosses> replicas;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    for (const auto& [arm, change] : arms) {
      replicas.push_back(simple_replica(places, arm, seed, base + 0.001 * static_cast<double>(seed), change));
    }
  }
  return analyze(places, replicas, 8, kEntropy, kQuick);
}

}  // namespace rse
