#include "analysis/analysis.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "core/check.h"

namespace rse {
namespace {

// Documents that hold targets, numbered from 0 in order of appearance.
struct Grouping {
  std::vector<size_t> document_of;  // [targets]
  std::vector<double> targets;      // [documents]
};

Grouping group_by_document(const TargetPlaces& places) {
  Grouping grouping;
  std::map<int64_t, size_t> number;
  for (int64_t document : places.documents) {
    const auto [place, added] = number.try_emplace(document, grouping.targets.size());
    if (added) grouping.targets.push_back(0);
    grouping.document_of.push_back(place->second);
    grouping.targets[place->second] += 1;
  }
  return grouping;
}

// (length, attention window), in the order of the report's rows.
using Setting = std::pair<int64_t, int64_t>;

// The input, checked and addressed by replica and setting.
class LossTable {
 public:
  LossTable(const TargetPlaces& places, const std::vector<ReplicaLosses>& replicas)
      : places_(places), grouping_(group_by_document(places)), replicas_(replicas) {
    RSE_ASSERT(places.size() > 0 && places.offsets.size() == places.documents.size(),
               "{} targets, {} offsets", places.size(), places.offsets.size());
    RSE_ASSERT(!replicas.empty(), "an analysis of no replicas");
    std::set<std::pair<std::string, uint64_t>> seen;
    for (const ReplicaLosses& replica : replicas) {
      RSE_ASSERT(seen.insert({replica.arm, replica.seed}).second, "{}, seed {} twice", replica.arm,
                 replica.seed);
      RSE_ASSERT(replica.lengths.size() == replicas.front().lengths.size(), "{}, seed {}: {} settings",
                 replica.arm, replica.seed, replica.lengths.size());
      for (const LengthLosses& losses : replica.lengths) check_losses(replica, losses);
    }
    for (const LengthLosses& losses : replicas.front().lengths) {
      settings_.push_back({losses.length, losses.attention_window});
    }
    std::stable_sort(settings_.begin(), settings_.end(), [](const Setting& a, const Setting& b) {
      return std::pair(a.second > 0, a.first) < std::pair(b.second > 0, b.first);
    });
  }

  const TargetPlaces& places() const { return places_; }
  const std::vector<ReplicaLosses>& replicas() const { return replicas_; }
  const std::vector<Setting>& settings() const { return settings_; }
  size_t documents() const { return grouping_.targets.size(); }

  // The setting's losses; RSE_ASSERT where the replica lacks it.
  const LengthLosses& losses(size_t replica, const Setting& setting) const {
    for (const LengthLosses& losses : replicas_[replica].lengths) {
      if (losses.length == setting.first && losses.attention_window == setting.second) return losses;
    }
    RSE_ASSERT(false, "{}, seed {}: no length {} with window {}", replicas_[replica].arm,
               replicas_[replica].seed, setting.first, setting.second);
  }

  // The control at `length`; nullptr where there is none.
  const Setting* control_at(int64_t length) const {
    for (const Setting& setting : settings_) {
      if (setting.first == length && setting.second > 0) return &setting;
    }
    return nullptr;
  }

  // Mean over targets: a document weighs as many as it has.
  DocumentTable means(const std::vector<size_t>& replicas, const Setting& setting) const {
    DocumentTable table{{}, grouping_.targets};
    for (size_t replica : replicas) {
      std::vector<double>& row = table.sums.emplace_back(documents(), 0.0);
      const std::vector<float>& nll = losses(replica, setting).nll;
      for (size_t i = 0; i < nll.size(); ++i) row[grouping_.document_of[i]] += nll[i];
    }
    return table;
  }

  // Difference by target, mean inside each document; documents alike. Rows: pairs[i].first under `setting`
  // minus pairs[i].second under `base`.
  DocumentTable differences(const std::vector<std::pair<size_t, size_t>>& pairs, const Setting& setting,
                            const Setting& base) const {
    DocumentTable table{{}, std::vector<double>(documents(), 1.0)};
    for (const auto& [first, second] : pairs) {
      std::vector<double>& row = table.sums.emplace_back(documents(), 0.0);
      const std::vector<float>& a = losses(first, setting).nll;
      const std::vector<float>& b = losses(second, base).nll;
      for (size_t i = 0; i < a.size(); ++i) row[grouping_.document_of[i]] += double{a[i]} - double{b[i]};
      for (size_t d = 0; d < row.size(); ++d) row[d] /= grouping_.targets[d];
    }
    return table;
  }

 private:
  void check_losses(const ReplicaLosses& replica, const LengthLosses& losses) const {
    RSE_ASSERT(losses.nll.size() == places_.documents.size(),
               "{}, seed {}, length {}: {} losses of {} targets", replica.arm, replica.seed, losses.length,
               losses.nll.size(), places_.size());
    for (float nll : losses.nll) {
      if (std::isfinite(nll)) continue;
      throw_user_error("{}, seed {}: the NLL of a target at length {}{} is {}; expected a finite number",
                       replica.arm, replica.seed, losses.length, losses.control() ? " under the control" : "",
                       nll);
    }
  }

  const TargetPlaces& places_;
  Grouping grouping_;
  const std::vector<ReplicaLosses>& replicas_;
  std::vector<Setting> settings_;
};

// Collects means whose intervals are then drawn in one pass over the resamples.
class Intervals {
 public:
  // `estimate` stays where it is until fill().
  void add(Estimate* estimate, DocumentTable table) {
    estimate->mean = table.mean();
    estimates_.push_back(estimate);
    tables_.push_back(std::move(table));
  }
  void fill(const BootstrapSettings& settings) {
    const auto intervals = bootstrap_intervals(tables_, settings);
    for (size_t i = 0; i < intervals.size(); ++i) estimates_[i]->interval = intervals[i];
  }

 private:
  std::vector<Estimate*> estimates_;
  std::vector<DocumentTable> tables_;
};

std::vector<EdgeBucket> edge_buckets(const LossTable& table, const std::vector<size_t>& replicas,
                                     const Setting& setting) {
  std::vector<EdgeBucket> buckets;
  const std::vector<int64_t>& offsets = table.places().offsets;
  for (size_t i = 0; i < offsets.size(); ++i) {
    const auto distance = static_cast<uint64_t>(edge_distance(offsets[i], setting.first));
    const auto number = static_cast<size_t>(std::bit_width(distance));  // 0, 1, 2-3, 4-7, ...
    while (buckets.size() <= number) {
      const size_t next = buckets.size();
      const int64_t first = next == 0 ? 0 : int64_t{1} << (next - 1);
      buckets.push_back({first, next == 0 ? 0 : 2 * first - 1, 0, 0.0});
    }
    ++buckets[number].targets;
    for (size_t replica : replicas) buckets[number].nll += table.losses(replica, setting).nll[i];
  }
  std::erase_if(buckets, [](const EdgeBucket& bucket) { return bucket.targets == 0; });
  for (EdgeBucket& bucket : buckets) {
    bucket.nll /= static_cast<double>(bucket.targets) * static_cast<double>(replicas.size());
    bucket.last = std::min(bucket.last, (setting.first - 1) / 2);  // of the last bucket: a window has no more
  }
  return buckets;
}

std::vector<std::pair<size_t, size_t>> with_themselves(const std::vector<size_t>& replicas) {
  std::vector<std::pair<size_t, size_t>> pairs;
  for (size_t replica : replicas) pairs.push_back({replica, replica});
  return pairs;
}

// Means and everything but intervals, which `intervals` will fill in.
void describe(ArmResult& result, const LossTable& table, const std::vector<size_t>& replicas,
              int64_t trained_length, Intervals& intervals) {
  const Setting trained = {trained_length, 0};
  const auto pairs = with_themselves(replicas);
  result.lengths.resize(table.settings().size());  // addresses are fixed from here on
  for (size_t i = 0; i < result.lengths.size(); ++i) {
    const Setting& setting = table.settings()[i];
    LengthResult& row = result.lengths[i];
    row.length = setting.first;
    row.attention_window = setting.second;
    for (size_t replica : replicas) row.seconds += table.losses(replica, setting).seconds;
    row.edges = edge_buckets(table, replicas, setting);
    intervals.add(&row.nll, table.means(replicas, setting));
    if (setting != trained) {
      intervals.add(&row.difference.emplace(), table.differences(pairs, setting, trained));
    }
    const Setting* control = row.control() ? nullptr : table.control_at(setting.first);
    if (control != nullptr) {
      intervals.add(&row.over_control.emplace(), table.differences(pairs, setting, *control));
    }
  }
}

std::vector<ArmResult> describe_replicas(const LossTable& table, int64_t trained_length,
                                         Intervals& intervals) {
  std::vector<ArmResult> results(table.replicas().size());
  for (size_t i = 0; i < results.size(); ++i) {
    results[i].arm = table.replicas()[i].arm;
    results[i].seeds = {table.replicas()[i].seed};
    describe(results[i], table, {i}, trained_length, intervals);
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

// The pairing of two arms at every length with full attention.
void compare(const LossTable& table, const std::vector<size_t>& first, const std::vector<size_t>& second,
             std::vector<Comparison>& comparisons, std::vector<DocumentTable>& tables) {
  const std::vector<ReplicaLosses>& replicas = table.replicas();
  std::vector<std::pair<size_t, size_t>> pairs;
  std::vector<uint64_t> seeds;
  for (size_t a : first) {
    for (size_t b : second) {
      if (replicas[a].seed != replicas[b].seed) continue;
      pairs.push_back({a, b});
      seeds.push_back(replicas[a].seed);
    }
  }
  if (pairs.empty()) return;
  const std::string& first_arm = replicas[first.front()].arm;
  const std::string& second_arm = replicas[second.front()].arm;
  if (pairs.size() > kMostFlips) {
    throw_user_error(
        "{} and {}: {} seeds; expected at most {} (an exact test goes through every sign pattern)", first_arm,
        second_arm, pairs.size(), kMostFlips);
  }
  for (const Setting& setting : table.settings()) {
    if (setting.second > 0) continue;
    Comparison comparison;
    comparison.first = first_arm;
    comparison.second = second_arm;
    comparison.length = setting.first;
    comparison.seeds = seeds;
    tables.push_back(table.differences(pairs, setting, setting));
    for (const std::vector<double>& row : tables.back().sums) {
      comparison.by_seed.push_back(DocumentTable{{row}, tables.back().weights}.mean());
    }
    comparison.p = sign_flip_p(comparison.by_seed);
    comparison.detectable = detectable_difference(comparison.by_seed);
    comparisons.push_back(std::move(comparison));
  }
}

Verdict judge(const Comparison& comparison, bool on_plateau) {
  if (on_plateau) return Verdict::kOnPlateau;
  if (comparison.seeds.size() < kSeedsForAVerdict) return Verdict::kNotEnoughSeeds;
  if (comparison.smallest_p_holm > kSignificance) return Verdict::kOutOfReach;
  const std::optional<Interval>& interval = comparison.difference.interval;
  if (comparison.p_holm > kSignificance || !interval || interval->contains(0)) return Verdict::kNotShown;
  return interval->high < 0 ? Verdict::kFirstBetter : Verdict::kSecondBetter;
}

// The smallest p of a sign-flip test over so many seeds, two-sided.
double smallest_p(size_t seeds) { return std::ldexp(2.0, -static_cast<int>(seeds)); }

// The smallest p after Holm's correction that comparison `which` could have had: the others that can go as
// low may stand before it, at their own smallest, and take a place in the family each.
double smallest_reachable(const std::vector<Comparison>& comparisons, size_t which) {
  const double own = smallest_p(comparisons[which].seeds.size());
  std::vector<double> others;
  for (size_t i = 0; i < comparisons.size(); ++i) {
    const double p = smallest_p(comparisons[i].seeds.size());
    if (i != which && p <= own) others.push_back(p);
  }
  std::sort(others.begin(), others.end());
  auto family = static_cast<double>(comparisons.size());
  double best = family * own, before = 0;
  for (const double p : others) {
    before = std::max(before, family * p);
    family -= 1;
    best = std::min(best, std::max(before, family * own));
  }
  return std::min(1.0, best);
}

// Tests and verdicts: what depends on the whole family of comparisons.
void judge_all(Analysis& analysis) {
  std::vector<double> p;
  for (const Comparison& comparison : analysis.comparisons) p.push_back(comparison.p);
  const std::vector<double> adjusted = holm_adjusted(p);
  std::set<std::string> plateau;
  for (const ArmResult& arm : analysis.arms) {
    if (arm.on_plateau) plateau.insert(arm.arm);
  }
  for (size_t i = 0; i < p.size(); ++i) {
    Comparison& comparison = analysis.comparisons[i];
    comparison.p_holm = adjusted[i];
    comparison.smallest_p_holm = smallest_reachable(analysis.comparisons, i);
    comparison.verdict =
        judge(comparison, plateau.contains(comparison.first) || plateau.contains(comparison.second));
  }
}

}  // namespace

const LengthResult* ArmResult::at(int64_t length, bool control) const {
  for (const LengthResult& row : lengths) {
    if (row.length == length && row.control() == control) return &row;
  }
  return nullptr;
}

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kNotEnoughSeeds:
      return "not enough seeds";
    case Verdict::kOnPlateau:
      return "an arm is on the unigram plateau";
    case Verdict::kOutOfReach:
      return "too few seeds for so many comparisons";
    case Verdict::kNotShown:
      return "no difference shown";
    case Verdict::kFirstBetter:
      return "the first is better";
    case Verdict::kSecondBetter:
      return "the second is better";
  }
  RSE_ASSERT(false, "verdict {}", static_cast<int>(verdict));
}

Analysis analyze(const TargetPlaces& places, const std::vector<ReplicaLosses>& replicas,
                 int64_t trained_length, double unigram_entropy, const BootstrapSettings& settings) {
  const LossTable table(places, replicas);
  Analysis analysis;
  analysis.trained_length = trained_length;
  analysis.targets = places.size();
  analysis.documents = static_cast<int64_t>(table.documents());
  analysis.unigram_entropy = unigram_entropy;
  analysis.bootstrap = settings;

  Intervals intervals;
  analysis.replicas = describe_replicas(table, trained_length, intervals);
  for (ArmResult& replica : analysis.replicas) {
    replica.on_plateau = on_unigram_plateau(replica.at(trained_length, false)->nll.mean, unigram_entropy);
  }
  const auto arms = replicas_by_arm(replicas);
  analysis.arms.resize(arms.size());
  for (size_t i = 0; i < arms.size(); ++i) {
    ArmResult& arm = analysis.arms[i];
    arm.arm = replicas[arms[i].front()].arm;
    for (size_t replica : arms[i]) {
      arm.seeds.push_back(replicas[replica].seed);
      arm.on_plateau = arm.on_plateau || analysis.replicas[replica].on_plateau;
    }
    describe(arm, table, arms[i], trained_length, intervals);
  }

  std::vector<DocumentTable> tables;
  for (size_t a = 0; a < arms.size(); ++a) {
    for (size_t b = a + 1; b < arms.size(); ++b)
      compare(table, arms[a], arms[b], analysis.comparisons, tables);
  }
  for (size_t i = 0; i < tables.size(); ++i) {
    intervals.add(&analysis.comparisons[i].difference, std::move(tables[i]));
  }
  intervals.fill(settings);
  judge_all(analysis);
  return analysis;
}

}  // namespace rse
