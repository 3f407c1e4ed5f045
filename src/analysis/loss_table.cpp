#include "analysis/loss_table.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "core/check.h"

namespace rse {

LossTable::LossTable(const TargetPlaces& places, const std::vector<ReplicaLosses>& replicas)
    : places_(places), replicas_(replicas) {
  RSE_ASSERT(places.size() > 0 && places.offsets.size() == places.documents.size(), "{} targets, {} offsets",
             places.size(), places.offsets.size());
  RSE_ASSERT(!replicas.empty(), "an analysis of no replicas");
  std::map<int64_t, size_t> number;
  for (int64_t document : places.documents) {
    const auto [place, added] = number.try_emplace(document, targets_in_.size());
    if (added) targets_in_.push_back(0);
    document_of_.push_back(place->second);
    targets_in_[place->second] += 1;
  }
  std::set<std::pair<std::string, uint64_t>> seen;
  for (const ReplicaLosses& replica : replicas) {
    RSE_ASSERT(seen.insert({replica.arm, replica.seed}).second, "{}, seed {} twice", replica.arm,
               replica.seed);
    RSE_ASSERT(replica.lengths.size() == replicas.front().lengths.size(), "{}, seed {}: {} settings",
               replica.arm, replica.seed, replica.lengths.size());
    for (const LengthLosses& losses : replica.lengths) check_losses(replica, losses);
  }
  for (const LengthLosses& losses : replicas.front().lengths) {
    settings_.emplace_back(losses.length, losses.attention_window);
  }
  std::stable_sort(settings_.begin(), settings_.end(), [](const Setting& a, const Setting& b) {
    return std::pair(a.second > 0, a.first) < std::pair(b.second > 0, b.first);
  });
}

const LengthLosses& LossTable::losses(size_t replica, const Setting& setting) const {
  for (const LengthLosses& losses : replicas_[replica].lengths) {
    if (losses.length == setting.first && losses.attention_window == setting.second) return losses;
  }
  RSE_ASSERT(false, "{}, seed {}: no length {} with window {}", replicas_[replica].arm,
             replicas_[replica].seed, setting.first, setting.second);
}

const Setting* LossTable::control_at(int64_t length) const {
  for (const Setting& setting : settings_) {
    if (setting.first == length && setting.second > 0) return &setting;
  }
  return nullptr;
}

DocumentTable LossTable::means(const std::vector<size_t>& replicas, const Setting& setting) const {
  DocumentTable table{{}, targets_in_};
  for (size_t replica : replicas) {
    std::vector<double>& row = table.sums.emplace_back(documents(), 0.0);
    const std::vector<float>& nll = losses(replica, setting).nll;
    for (size_t i = 0; i < nll.size(); ++i) row[document_of_[i]] += nll[i];
  }
  return table;
}

DocumentTable LossTable::differences(const std::vector<std::pair<size_t, size_t>>& pairs,
                                     const Setting& setting, const Setting& base) const {
  DocumentTable table{{}, std::vector<double>(documents(), 1.0)};
  for (const auto& [first, second] : pairs) {
    std::vector<double>& row = table.sums.emplace_back(documents(), 0.0);
    const std::vector<float>& a = losses(first, setting).nll;
    const std::vector<float>& b = losses(second, base).nll;
    for (size_t i = 0; i < a.size(); ++i) row[document_of_[i]] += double{a[i]} - double{b[i]};
    for (size_t d = 0; d < row.size(); ++d) row[d] /= targets_in_[d];
  }
  return table;
}

void LossTable::check_losses(const ReplicaLosses& replica, const LengthLosses& losses) const {
  RSE_ASSERT(losses.nll.size() == places_.documents.size(), "{}, seed {}, length {}: {} losses of {} targets",
             replica.arm, replica.seed, losses.length, losses.nll.size(), places_.size());
  for (float nll : losses.nll) {
    if (std::isfinite(nll)) continue;
    throw_user_error("{}, seed {}: the NLL of a target at length {}{} is {}; expected a finite number",
                     replica.arm, replica.seed, losses.length, losses.control() ? " under the control" : "",
                     nll);
  }
}

void IntervalQueue::add(Estimate* estimate, DocumentTable table) {
  estimate->mean = table.mean();
  estimates_.push_back(estimate);
  tables_.push_back(std::move(table));
}

void IntervalQueue::fill(const BootstrapSettings& settings) {
  const auto intervals = bootstrap_intervals(tables_, settings);
  for (size_t i = 0; i < intervals.size(); ++i) estimates_[i]->interval = intervals[i];
}

}  // namespace rse
