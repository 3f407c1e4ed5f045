// The losses of an evaluation, checked once and addressed by replica and setting, and the tables of document
// means that intervals are drawn from. No Torch.
//
// Order of calls: LossTable (checks its input) -> means() and differences() -> IntervalQueue::add() for each
// table -> IntervalQueue::fill() once.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "analysis/statistics.h"
#include "analysis/target_losses.h"

namespace rse {

// A mean with its interval; there is no interval where all targets lie in one document.
struct Estimate {
  double mean = 0;
  std::optional<Interval> interval;
};

// (length, attention window): one of the settings that every replica was evaluated under.
using Setting = std::pair<int64_t, int64_t>;

class LossTable {
 public:
  // Both arguments outlive the table. RSE_ASSERT: no targets, no replicas, sizes that differ, an (arm, seed)
  // twice. UserError naming arm, seed and length where a loss is not finite.
  LossTable(const TargetPlaces& places, const std::vector<ReplicaLosses>& replicas);

  const TargetPlaces& places() const { return places_; }
  const std::vector<ReplicaLosses>& replicas() const { return replicas_; }
  // In the order of the report's rows: full attention by length, then the control by length.
  const std::vector<Setting>& settings() const { return settings_; }
  // The number of documents that hold targets.
  size_t documents() const { return targets_in_.size(); }

  // RSE_ASSERT where the replica lacks the setting.
  const LengthLosses& losses(size_t replica, const Setting& setting) const;
  // The control at `length`; nullptr where there is none.
  const Setting* control_at(int64_t length) const;

  // The mean over targets: a document weighs as much as it has targets. One row per replica.
  DocumentTable means(const std::vector<size_t>& replicas, const Setting& setting) const;
  // Differences by target, averaged inside each document; every document weighs the same. Row i is
  // pairs[i].first under `setting` minus pairs[i].second under `base`.
  DocumentTable differences(const std::vector<std::pair<size_t, size_t>>& pairs, const Setting& setting,
                            const Setting& base) const;

 private:
  void check_losses(const ReplicaLosses& replica, const LengthLosses& losses) const;

  const TargetPlaces& places_;
  const std::vector<ReplicaLosses>& replicas_;
  std::vector<size_t> document_of_;  // [targets], documents numbered from 0 in order of appearance
  std::vector<double> targets_in_;   // [documents]
  std::vector<Setting> settings_;
};

// Collects means, so that the intervals of all are drawn in one pass over the resamples.
class IntervalQueue {
 public:
  // Sets the mean now. `estimate` stays where it is until fill().
  void add(Estimate* estimate, DocumentTable table);
  void fill(const BootstrapSettings& settings);

 private:
  std::vector<Estimate*> estimates_;
  std::vector<DocumentTable> tables_;
};

}  // namespace rse
