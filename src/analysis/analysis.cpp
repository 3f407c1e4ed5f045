#include "analysis/analysis.h"

#include <algorithm>

#include "core/check.h"

namespace rse {
namespace {

std::vector<ArmResult> describe_replicas(const LossTable& table, int64_t trained_length,
                                         double unigram_entropy, IntervalQueue& intervals) {
  std::vector<ArmResult> results(table.replicas().size());
  for (size_t i = 0; i < results.size(); ++i) {
    ArmResult& result = results[i];
    result.arm = table.replicas()[i].arm;
    result.seeds = {table.replicas()[i].seed};
    result.lengths = describe_lengths(table, {i}, trained_length, intervals);
    const LengthResult* trained = result.at(trained_length, false);
    RSE_ASSERT(trained != nullptr, "{}, seed {}: not evaluated at the trained length {}", result.arm,
               result.seeds.front(), trained_length);
    result.on_plateau = on_unigram_plateau(trained->nll.mean, unigram_entropy);
  }
  return results;
}

// Indices of the replicas of each arm, in order of appearance.
std::vector<std::vector<size_t>> replicas_by_arm(const std::vector<ReplicaLosses>& replicas) {
  std::vector<std::vector<size_t>> arms;
  for (size_t i = 0; i < replicas.size(); ++i) {
    const auto same = std::find_if(arms.begin(), arms.end(), [&](const std::vector<size_t>& arm) {
      return replicas[arm.front()].arm == replicas[i].arm;
    });
    if (same == arms.end()) {
      arms.push_back({i});
    } else {
      same->push_back(i);
    }
  }
  return arms;
}

std::vector<ArmResult> describe_arms(const LossTable& table, const std::vector<std::vector<size_t>>& arms,
                                     const std::vector<ArmResult>& replicas, int64_t trained_length,
                                     IntervalQueue& intervals) {
  std::vector<ArmResult> results(arms.size());
  for (size_t i = 0; i < arms.size(); ++i) {
    ArmResult& result = results[i];
    result.arm = replicas[arms[i].front()].arm;
    for (size_t replica : arms[i]) {
      result.seeds.push_back(replicas[replica].seeds.front());
      result.on_plateau = result.on_plateau || replicas[replica].on_plateau;
    }
    result.lengths = describe_lengths(table, arms[i], trained_length, intervals);
  }
  return results;
}

}  // namespace

Analysis analyze(const TargetPlaces& places, const std::vector<ReplicaLosses>& replicas,
                 int64_t trained_length, double unigram_entropy, const BootstrapSettings& settings) {
  const LossTable table(places, replicas);
  const auto arms = replicas_by_arm(replicas);
  IntervalQueue intervals;
  Analysis analysis;
  analysis.trained_length = trained_length;
  analysis.targets = places.size();
  analysis.documents = static_cast<int64_t>(table.documents());
  analysis.unigram_entropy = unigram_entropy;
  analysis.bootstrap = settings;
  analysis.replicas = describe_replicas(table, trained_length, unigram_entropy, intervals);
  analysis.arms = describe_arms(table, arms, analysis.replicas, trained_length, intervals);
  analysis.comparisons = compare_arms(table, arms, intervals);
  intervals.fill(settings);
  judge_all(analysis.arms, analysis.comparisons);
  return analysis;
}

}  // namespace rse
