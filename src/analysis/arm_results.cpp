#include "analysis/arm_results.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace rse {
namespace {

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
    bucket.last = std::min(bucket.last, (setting.first - 1) / 2);  // a window has no larger distance
  }
  return buckets;
}

std::vector<std::pair<size_t, size_t>> with_themselves(const std::vector<size_t>& replicas) {
  std::vector<std::pair<size_t, size_t>> pairs;
  for (size_t replica : replicas) pairs.emplace_back(replica, replica);
  return pairs;
}

}  // namespace

const LengthResult* ArmResult::at(int64_t length, bool control) const {
  for (const LengthResult& row : lengths) {
    if (row.length == length && row.control() == control) return &row;
  }
  return nullptr;
}

std::vector<LengthResult> describe_lengths(const LossTable& table, const std::vector<size_t>& replicas,
                                           int64_t trained_length, IntervalQueue& intervals) {
  const Setting trained = {trained_length, 0};
  const auto pairs = with_themselves(replicas);
  std::vector<LengthResult> rows(table.settings().size());  // addresses are fixed from here on
  for (size_t i = 0; i < rows.size(); ++i) {
    const Setting& setting = table.settings()[i];
    LengthResult& row = rows[i];
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
  return rows;
}

}  // namespace rse
