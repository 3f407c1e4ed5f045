#include "bench/profile.h"

#include <ATen/record_function.h>
#include <kineto/ActivityType.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <unordered_map>
#include <utility>

#include "bench/timeline.h"
#include "core/check.h"
#include "nn/step_ranges.h"

namespace rse {
namespace {

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

constexpr size_t kNone = std::numeric_limits<size_t>::max();

// An operator, autograd node or range on a thread of the host.
struct HostEvent {
  std::string name;
  TimeSpan span;
  uint64_t thread = 0;
  int64_t sequence = -1;  // links a node of backward to the operator of forward that made it
  bool range = false;     // one of nn/step_ranges.h
  bool node = false;      // of backward
  size_t parent = kNone;  // index of the event that encloses it on the same thread
};

// A kernel, or a copy or fill, on the device.
struct DeviceEvent {
  std::string name;
  TimeSpan span;
  size_t launcher = kNone;  // index of the innermost host event that launched it
};

// All that was recorded, host events in the order in which they began.
struct Recording {
  std::vector<HostEvent> host;
  std::vector<DeviceEvent> device;
  std::set<int64_t> head_sequences;  // sequence numbers of the operators inside the head's range
};

TimeSpan span_of(const profiler::KinetoEvent& event) {
  return {static_cast<int64_t>(event.startNs()), static_cast<int64_t>(event.endNs())};
}

bool is_activity(const profiler::KinetoEvent& event, std::initializer_list<libkineto::ActivityType> types) {
  return std::any_of(types.begin(), types.end(), [&](libkineto::ActivityType type) {
    return event.activityType() == static_cast<uint8_t>(type);
  });
}

bool has_ancestor(const std::vector<HostEvent>& host, size_t index, const std::string& name) {
  for (; index != kNone; index = host[index].parent) {
    if (host[index].name == name) return true;
  }
  return false;
}

void link_parents(std::vector<HostEvent>& host) {
  std::unordered_map<uint64_t, std::vector<size_t>> open;  // by thread
  for (size_t n = 0; n < host.size(); ++n) {
    std::vector<size_t>& stack = open[host[n].thread];
    while (!stack.empty() && host[stack.back()].span.end < host[n].span.end) stack.pop_back();
    if (!stack.empty()) host[n].parent = stack.back();
    stack.push_back(n);
  }
}

Recording read_events(const std::vector<profiler::KinetoEvent>& events) {
  using Type = libkineto::ActivityType;
  std::vector<const profiler::KinetoEvent*> host_events;
  for (const auto& event : events) {
    const bool on_host = event.deviceType() == c10::DeviceType::CPU && !event.isAsync() &&
                         is_activity(event, {Type::CPU_OP, Type::USER_ANNOTATION});
    if (on_host) host_events.push_back(&event);
  }
  std::stable_sort(host_events.begin(), host_events.end(), [](const auto* a, const auto* b) {
    return a->startNs() != b->startNs() ? a->startNs() < b->startNs() : a->endNs() > b->endNs();
  });
  Recording recording;
  std::unordered_map<uint64_t, size_t> by_correlation;
  for (const auto* event : host_events) {
    by_correlation[event->correlationId()] = recording.host.size();
    recording.host.push_back({event->name(), span_of(*event), event->startThreadId(), event->sequenceNr(),
                              event->scope() == static_cast<uint8_t>(at::RecordScope::USER_SCOPE),
                              event->scope() == static_cast<uint8_t>(at::RecordScope::BACKWARD_FUNCTION)});
  }
  link_parents(recording.host);
  for (size_t n = 0; n < recording.host.size(); ++n) {
    const HostEvent& event = recording.host[n];
    if (event.sequence < 0 || event.node || !has_ancestor(recording.host, event.parent, kHeadRange)) continue;
    recording.head_sequences.insert(event.sequence);
  }
  for (const auto& event : events) {
    if (event.deviceType() != c10::DeviceType::CUDA) continue;
    if (!is_activity(event, {Type::CONCURRENT_KERNEL, Type::GPU_MEMCPY, Type::GPU_MEMSET})) continue;
    const auto found = by_correlation.find(event.linkedCorrelationId());
    recording.device.push_back(
        {event.name(), span_of(event), found == by_correlation.end() ? kNone : found->second});
  }
  return recording;
}

// The names from event `index` outward. A node of backward that belongs to an operator of the head adds the
// head's range, because backward runs outside of it.
std::vector<std::string> names_from(const Recording& recording, size_t index) {
  std::vector<std::string> names;
  for (; index != kNone; index = recording.host[index].parent) {
    const HostEvent& event = recording.host[index];
    names.push_back(event.name);
    if (event.node && recording.head_sequences.contains(event.sequence)) names.emplace_back(kHeadRange);
  }
  return names;
}

// One piece of work with what encloses it.
struct Work {
  TimeSpan span;
  std::string name;
  std::vector<std::string> ranges;
};

StepProfile account(const std::vector<Work>& all, const TimeSpan& window, int64_t steps) {
  std::vector<TimeSpan> spans;
  for (const Work& work : all) spans.push_back(work.span);
  const std::vector<int64_t> own = own_times(spans, window);
  const double per_step = 1e-6 / static_cast<double>(steps);  // milliseconds per step from nanoseconds
  StepProfile profile;
  profile.steps = steps;
  profile.step_ms = static_cast<double>(window.end - window.begin) * per_step;
  profile.gap_ms = profile.step_ms;
  std::map<std::pair<std::string, KernelKind>, KernelTime> kernels;
  for (size_t n = 0; n < all.size(); ++n) {
    if (spans[n].end <= window.begin || spans[n].begin >= window.end) continue;
    const double ms = static_cast<double>(own[n]) * per_step;
    const KernelKind kind = kind_of(all[n].name, all[n].ranges);
    profile.kind_ms[static_cast<size_t>(kind)] += ms;
    profile.phase_ms[static_cast<size_t>(phase_of(all[n].ranges))] += ms;
    profile.gap_ms -= ms;
    KernelTime& kernel = kernels[{all[n].name, kind}];
    kernel.name = all[n].name;
    kernel.kind = kind;
    kernel.calls += 1;
    kernel.ms += ms;
  }
  for (auto& item : kernels) {
    item.second.calls /= static_cast<double>(steps);
    profile.kernels.push_back(std::move(item.second));
  }
  std::stable_sort(profile.kernels.begin(), profile.kernels.end(),
                   [](const KernelTime& a, const KernelTime& b) { return a.ms > b.ms; });
  return profile;
}

// The ranges of the steps, in order.
std::vector<const HostEvent*> step_ranges(const Recording& recording, int64_t expected) {
  std::vector<const HostEvent*> steps;
  for (const HostEvent& event : recording.host) {
    if (event.range && event.name == kStepRange) steps.push_back(&event);
  }
  RSE_ASSERT(static_cast<int64_t>(steps.size()) == expected, "{} ranges of {} steps", steps.size(), expected);
  return steps;
}

StepProfile account_for_host(const Recording& recording, int64_t steps) {
  const auto ranges = step_ranges(recording, steps + 1);
  std::vector<Work> all;
  for (const HostEvent& event : recording.host) {
    if (event.range || event.thread != ranges.front()->thread) continue;
    all.push_back({event.span, event.name, names_from(recording, event.parent)});
    if (event.node && recording.head_sequences.contains(event.sequence)) {
      all.back().ranges.emplace_back(kHeadRange);
    }
  }
  return account(all, {ranges[1]->span.begin, ranges.back()->span.end}, steps);
}

// The window ends with the last kernel and begins where the last one of the first step ended: from there on
// the device's time is that of the steps that are counted.
StepProfile account_for_device(const Recording& recording, int64_t steps) {
  const auto ranges = step_ranges(recording, steps + 1);
  const int64_t second_step = ranges[1]->span.begin;
  std::vector<Work> all;
  TimeSpan window{std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::min()};
  for (const DeviceEvent& event : recording.device) {
    const int64_t launched =
        event.launcher == kNone ? event.span.begin : recording.host[event.launcher].span.begin;
    if (launched < second_step) window.begin = std::max(window.begin, event.span.end);
    window.end = std::max(window.end, event.span.end);
    all.push_back({event.span, event.name, names_from(recording, event.launcher)});
  }
  if (all.empty() || window.begin >= window.end) {
    throw_user_error(
        "--profile: LibTorch recorded {} kernels on the device: expected its profiler to reach CUPTI, which "
        "no "
        "other profiler may use meanwhile",
        all.size());
  }
  return account(all, window, steps);
}

}  // namespace

StepProfile profile_steps(const torch::Device& device, int64_t steps, const std::function<void()>& step) {
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  std::set<ActivityType> activities = {ActivityType::CPU};
  if (device.is_cuda()) {
    activities.insert(ActivityType::CUDA);
    torch::cuda::synchronize(device.index());
  } else {
    ::setenv("KINETO_LOG_LEVEL", "5", /*overwrite=*/0);  // else it reports that there is no GPU as an error
  }
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  try {
    for (int64_t n = 0; n <= steps; ++n) {
      RECORD_USER_SCOPE(kStepRange);
      step();
    }
    if (device.is_cuda()) torch::cuda::synchronize(device.index());
  } catch (...) {
    profiler::disableProfiler();  // else the thread would go on recording
    throw;
  }
  const Recording recording = read_events(profiler::disableProfiler()->events());
  return device.is_cuda() ? account_for_device(recording, steps) : account_for_host(recording, steps);
}

}  // namespace rse
