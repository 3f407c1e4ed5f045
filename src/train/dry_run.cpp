#include "train/dry_run.h"

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

// Describes the arm's cost, its optimizer groups, and what one micro-batch through it took.
std::string try_arm(const ArmConfig& arm, const RunSettings& settings, const StepBatch& batch,
                    const torch::Device& device, ModelReport* cost) {
  const PeakMemory memory(device);
  Replica replica(arm, batch.seed, settings.train, device);
  *cost = report_arm(*replica.encoder(), settings);
  std::string text =
      fmt::format("arm {}: {}\n", arm.name, arm.differs.empty() ? "the base settings" : arm.differs);
  text += fmt::format("  attention          {}\n", replica.encoder()->position().describe(device));
  text += fmt::format("  parameters         {} (position method's own {})\n", cost->parameters,
                      cost->position_parameters);
  for (const ParameterGroup& group : cost->groups) {
    text += fmt::format("    {:<17}{}\n", group.name, group.parameters);
  }
  text += "  optimizer groups\n";
  for (const OptimizerGroup& group : replica.optimizer().groups()) {
    const bool decay = group.role == ParameterRole::kDecay;
    text += fmt::format("    {:<17}{} in {} tensors, learning rate {:g}, weight decay {:g}\n",
                        group_name(group.role), group.elements(), group.parameters.size(),
                        decay ? arm.decay_learning_rate : arm.learning_rate,
                        group.decayed() ? settings.train.weight_decay : 0.0);
  }
  text += fmt::format("  tables             {}\n", format_bytes(static_cast<double>(cost->table_bytes)));
  text += fmt::format(
      "  memory, estimated  {} of state (weights, gradients, moments) + {} of activations per micro-batch\n",
      format_bytes(static_cast<double>(cost->state_bytes)),
      format_bytes(static_cast<double>(cost->activation_bytes)));
  text +=
      fmt::format("  FLOP per token     {} = {}\n", format_count(cost->flop_per_token), cost->flop_formula);

  const std::vector<DeviceBatch> micro = {to_device(batch.micro_batches.front(), device)};
  StepClock clock(device);
  const torch::Tensor loss = replica.backward(0, micro, micro.front().targets());
  clock.stop();
  text += fmt::format("  one micro-batch    loss {:.4f}, {:.0f} ms forward and backward (first one, cold)",
                      loss.item<float>(), clock.milliseconds());
  if (memory.bytes_above_start() >= 0) {
    text += fmt::format(", peak memory {}", format_bytes(static_cast<double>(memory.bytes_above_start())));
  }
  return text + "\n";
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
  double step_flop = 0, state = 0, activations = 0;
  for (const ArmConfig& arm : config.arms) {
    ModelReport cost;
    text += try_arm(arm, base, batch, device, &cost);
    parameters += cost.parameters;
    step_flop += cost.flop_per_token * static_cast<double>(batch.tokens);
    state += static_cast<double>(cost.state_bytes);
    activations = std::max(activations, static_cast<double>(cost.activation_bytes));
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
  text += fmt::format("  memory, estimated  {} for all arms and seeds together\n",
                      format_bytes(state * seeds + activations));
  text += fmt::format("  checkpoints        {} each, {} in all with up to {} at once; {} free for {}\n",
                      format_bytes(static_cast<double>(disk.each)),
                      format_bytes(static_cast<double>(disk.total())), disk.at_once,
                      format_bytes(static_cast<double>(free_bytes(base.output))), base.output);
  return text;
}

}  // namespace rse
