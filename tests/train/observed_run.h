// Trains toy runs and keeps what every update did to the weights, for tests that compare values with those worked
// out by hand.
#pragma once

#include <ATen/record_function.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "eval/device_batch.h"
#include "tests/train/toy_run.h"
#include "train/batch_source.h"
#include "train/replica.h"
#include "train/trainer.h"

namespace rse {

using Weights = std::map<std::string, torch::Tensor>;

inline Weights copy_of(const Replica& replica) {
  Weights weights;
  for (const auto& [name, tensor] : replica.weights()) weights[name] = tensor.detach().clone();
  return weights;
}

// The weights of every replica, by seed, then arm: [0] is how they started here, [k] after k updates more.
using Course = std::vector<std::vector<Weights>>;

// Runs `trainer` in `folder`, which is made, to its end, or to the stop after `last` updates in all.
inline Course observe(Trainer& trainer, const std::filesystem::path& folder, int64_t last = -1) {
  std::filesystem::create_directories(folder);
  Course course;
  const int64_t first = trainer.replicas().back()->counters.step;
  const auto keep = [&] {
    course.emplace_back();
    for (const Replica* replica : trainer.replicas()) course.back().push_back(copy_of(*replica));
  };
  keep();
  // It is asked after each step, and before each replica's validation, too.
  const auto after_step = [&] {
    const int64_t step = trainer.replicas().back()->counters.step;
    if (step - first == static_cast<int64_t>(course.size())) keep();
    return step == last;
  };
  if (last >= 0) {
    EXPECT_THROW(trainer.run(folder, after_step), Interrupted);
  } else {
    trainer.run(folder, after_step);
    after_step();
  }
  return course;
}

// The same for a new run of `config` in the folder `name` of the toy.
inline Course observe(const ToyRun& toy, const RunConfig& config, const std::string& name) {
  Trainer trainer(config, toy.train_file(), toy.valid_file(), torch::kCPU);
  return observe(trainer, toy.path(name));
}

// The largest change of an element.
inline double largest_change(const torch::Tensor& before, const torch::Tensor& after) {
  return (after.to(torch::kFloat64) - before.to(torch::kFloat64)).abs().max().item<double>();
}

// The gradients of the replica's loss in `step` at `weights`, in float64, by name.
inline Weights gradients_at(Replica& replica, const Weights& weights, const StepBatch& batch) {
  {
    const torch::NoGradGuard no_grad;
    for (auto& item : replica.encoder()->named_parameters()) item.value().copy_(weights.at(item.key()));
  }
  std::vector<DeviceBatch> micro;
  for (const TokenBatch& part : batch.micro_batches) micro.push_back(to_device(part, torch::kCPU));
  replica.backward(batch.step, micro, batch.targets);
  Weights gradients;
  for (auto& item : replica.encoder()->named_parameters()) {
    gradients[item.key()] = item.value().grad().to(torch::kFloat64);
    item.value().mutable_grad().reset();
  }
  return gradients;
}

// Records the second input of every call of one operator of LibTorch in this thread while it lives.
class RecordedCalls {
 public:
  explicit RecordedCalls(std::string name) {
    name_() = std::move(name);
    inputs_().clear();
    kept_().clear();
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&on_call).needsInputs(true));
  }
  ~RecordedCalls() { at::removeCallback(handle_); }
  RecordedCalls(const RecordedCalls&) = delete;
  RecordedCalls& operator=(const RecordedCalls&) = delete;

  const std::vector<torch::Tensor>& inputs() const { return inputs_(); }
  // Without the calls that got the tensor of an earlier one again, as backward gets the masks of forward.
  std::vector<torch::Tensor> distinct_inputs() const {
    std::set<const void*> seen;
    std::vector<torch::Tensor> distinct;
    for (size_t i = 0; i < inputs_().size(); ++i) {
      if (seen.insert(kept_()[i].const_data_ptr()).second) distinct.push_back(inputs_()[i]);
    }
    return distinct;
  }

 private:
  static std::unique_ptr<at::ObserverContext> on_call(const at::RecordFunction& call) {
    if (call.name() != name_()) return nullptr;
    kept_().push_back(call.inputs()[1].toTensor());  // so that no other tensor gets its memory
    inputs_().push_back(kept_().back().clone());
    return nullptr;
  }
  static std::string& name_() {
    static std::string name;
    return name;
  }
  static std::vector<torch::Tensor>& inputs_() {
    static std::vector<torch::Tensor> inputs;
    return inputs;
  }
  static std::vector<torch::Tensor>& kept_() {
    static std::vector<torch::Tensor> kept;
    return kept;
  }
  at::CallbackHandle handle_;
};

}  // namespace rse
