#include "train/dry_run.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/logging.h"
#include "data/sequences.h"
#include "eval/device_batch.h"
#include "eval/validation.h"
#include "run/retention.h"
#include "train/batch_source.h"
#include "train/replica.h"
#include "train/report.h"
#include "train/trainer.h"

namespace rse {
namespace {

// What an arm costs; its memory is that of the largest micro-batch that the settings can give.
struct ArmCost {
  ModelReport model;
  MemoryEstimate memory;
};

std::vector<int64_t> lengths_of(const TokenBatch& batch) {
  std::vector<int64_t> lengths;
  for (size_t i = 0; i + 1 < batch.borders.size(); ++i)
    lengths.push_back(batch.borders[i + 1] - batch.borders[i]);
  return lengths;
}

MemoryEstimate largest_memory(const EncoderImpl& encoder, const RunSettings& settings,
                              const torch::Device& device) {
  const std::vector<int64_t> lengths(static_cast<size_t>(settings.train.batch_size), settings.data.seq_len);
  const double targets =
      settings.data.mask.probability * static_cast<double>(settings.train.batch_size * settings.data.seq_len);
  return estimate_arm(encoder, settings, lengths, static_cast<int64_t>(std::ceil(targets)), device);
}

std::string describe_groups(const Replica& replica, const ArmConfig& arm, const RunSettings& settings) {
  std::string text = "  optimizer groups\n";
  for (const OptimizerGroup& group : replica.optimizer().groups()) {
    const bool decay = group.role == ParameterRole::kDecay;
    text += fmt::format("    {:<17}{} in {} tensors, learning rate {:g}, weight decay {:g}\n",
                        group_name(group.role), group.elements(), group.parameters.size(),
                        decay ? arm.decay_learning_rate : arm.learning_rate,
                        group.decayed() ? settings.train.weight_decay : 0.0);
  }
  return text;
}

// Takes the first micro-batch forward and backward, and where gradients accumulate the second, because only then
// a peak is as high as in training. Returns what that took beside the estimate for the same micro-batch.
std::string try_update(Replica& replica, const RunSettings& settings, const StepBatch& batch,
                       const torch::Device& device, const PeakMemory& memory) {
  const TokenBatch& first = batch.micro_batches.front();
  const MemoryEstimate estimate =
      estimate_arm(*replica.encoder(), settings, lengths_of(first), first.targets(), device);
  std::string text = "  memory, estimated for the first micro-batch\n";
  text += describe_memory(estimate, "    ");
  const auto backward = [&](const TokenBatch& micro) {
    const std::vector<DeviceBatch> one = {to_device(micro, device)};
    return replica.backward(0, one, one.front().targets());
  };
  StepClock clock(device);
  const torch::Tensor loss = backward(first);
  clock.stop();
  if (batch.micro_batches.size() > 1) backward(batch.micro_batches[1]);
  text += fmt::format("  one micro-batch    loss {:.4f}, {:.0f} ms forward and backward (first one, cold)",
                      loss.item<float>(), clock.milliseconds());
  if (memory.bytes_above_start() >= 0) {
    text += fmt::format(", peak memory {} (estimated {})",
                        format_bytes(static_cast<double>(memory.bytes_above_start())),
                        format_bytes(estimate.peak_bytes()));
  }
  return text + "\n";
}

// Describes the arm's cost, its optimizer groups, and what a micro-batch through it took.
std::string try_arm(const ArmConfig& arm, const RunSettings& settings, const StepBatch& batch,
                    const torch::Device& device, ArmCost* cost) {
  const PeakMemory memory(device);
  Replica replica(arm, batch.seed, settings.train, device);
  *cost = {report_arm(*replica.encoder(), settings), largest_memory(*replica.encoder(), settings, device)};
  const ModelReport& model = cost->model;
  std::string text =
      fmt::format("arm {}: {}\n", arm.name, arm.differs.empty() ? "the base settings" : arm.differs);
  text += fmt::format("  attention          {}\n", replica.encoder()->position().describe(device));
  text += fmt::format("  parameters         {} (position method's own {})\n", model.parameters,
                      model.position_parameters);
  for (const ParameterGroup& group : model.groups) {
    text += fmt::format("    {:<17}{}\n", group.name, group.parameters);
  }
  text += describe_groups(replica, arm, settings);
  text += fmt::format("  tables             {}\n", format_bytes(static_cast<double>(model.table_bytes)));
  text +=
      fmt::format("  FLOP per token     {} = {}\n", format_count(model.flop_per_token), model.flop_formula);
  return text + try_update(replica, settings, batch, device, memory);
}

}  // namespace

std::string dry_run(const RunConfig& config, const TokenFile& train_file, const TokenFile& valid_file,
                    const torch::Device& device) {
  const RunSettings& base = config.base;
  const SequenceSet sequences(train_file, base.data.seq_len, base.data.packing, base.data.min_tokens);
  const EvaluationSet validation = make_validation_set(valid_file, base.validation, base.data.seq_len);
  const int64_t ramp = base.train.batch_ramp.steps;  // the step that is tried is the first of full size
  const StepBatch batch = make_step_batch(train_file, sequences, make_batch_plan(base),
                                          static_cast<uint64_t>(base.train.seeds.front()), ramp);
  std::string text = fmt::format("dry run of {} on {}; nothing is written\n", config.source.string(),
                                 describe_device(device, base.train).name);
  int64_t parameters = 0;
  double step_flop = 0, lasting = 0, passing = 0;
  for (const ArmConfig& arm : config.arms) {
    ArmCost cost;
    text += try_arm(arm, base, batch, device, &cost);
    parameters += cost.model.parameters;
    step_flop += cost.model.flop_per_token * static_cast<double>(batch.tokens);
    lasting += cost.memory.lasting_bytes();
    passing = std::max(passing, cost.memory.worst_point() + cost.memory.library);
  }
  const auto seeds = static_cast<double>(base.train.seeds.size());
  const CheckpointDisk disk =
      checkpoint_disk(base, parameters * static_cast<int64_t>(base.train.seeds.size()));
  text += fmt::format("the run: {} arms x {} seeds, {} steps\n", config.arms.size(), base.train.seeds.size(),
                      base.train.steps);
  text += fmt::format("  data               {} sequences per epoch; {} validation pieces of {} tokens\n",
                      sequences.size(), validation.size(), validation.piece_tokens());
  text += fmt::format(
      "  per step           {} tokens and {} targets for each arm ({}), "
      "{} FLOP for all arms and seeds\n",
      batch.tokens, batch.targets,
      ramp == 0 ? "first step" : fmt::format("step {}, the first after the batch ramp", ramp + 1),
      format_count(step_flop * seeds));
  text += fmt::format(
      "  memory, estimated  {} at the peak: weights and moments of all arms and seeds {}, an update of "
      "full sequences {}\n",
      format_bytes(lasting * seeds + passing), format_bytes(lasting * seeds), format_bytes(passing));
  text += fmt::format("  checkpoints        {} each, {} in all with up to {} at once; {} free for {}\n",
                      format_bytes(static_cast<double>(disk.each)),
                      format_bytes(static_cast<double>(disk.total())), disk.at_once,
                      format_bytes(static_cast<double>(free_bytes(base.output))), base.output);
  return text;
}

}  // namespace rse
