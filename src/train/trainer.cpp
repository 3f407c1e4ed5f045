#include "train/trainer.h"

#include <spdlog/spdlog.h>

#include "core/check.h"
#include "core/logging.h"
#include "eval/device_batch.h"
#include "train/checkpoint.h"

namespace rse {
namespace {

// True in the steps (from 1) that a rhythm of `every` hits, and at the end; every = 0: at the end only.
bool due(int64_t step, int64_t every, int64_t steps) {
  return step == steps || (every > 0 && step % every == 0);
}

}  // namespace

std::vector<size_t> arm_order(int64_t step, size_t arms) {
  std::vector<size_t> order(arms);
  for (size_t place = 0; place < arms; ++place) order[place] = (place + static_cast<size_t>(step)) % arms;
  return order;
}

BatchPlan make_batch_plan(const RunSettings& settings) {
  BatchPlan plan;
  plan.seeds.assign(settings.train.seeds.begin(), settings.train.seeds.end());
  plan.batch_size = settings.train.batch_size;
  plan.accumulation = settings.train.accumulation;
  plan.masking = settings.data.mask;
  return plan;
}

Trainer::Trainer(const RunConfig& config, const TokenFile& train_file, const TokenFile& valid_file,
                 const torch::Device& device)
    : config_(config),
      train_file_(train_file),
      valid_file_(valid_file),
      device_(device),
      device_description_(describe_device(device, config.base.train)),
      sequences_(train_file, config.base.data.seq_len, config.base.data.packing, config.base.data.min_tokens),
      validation_set_(make_validation_set(valid_file, config.base.validation, config.base.data.seq_len)) {
  for (const int64_t seed : config_.base.train.seeds) {
    for (const ArmConfig& arm : config_.arms) {
      replicas_.push_back(
          std::make_unique<Replica>(arm, static_cast<uint64_t>(seed), config_.base.train, device_));
    }
  }
  for (size_t i = 0; i < config_.arms.size(); ++i) {
    costs_.push_back(report_arm(*replicas_[i]->encoder(), config_.base));
  }
  validation_nll_.resize(replicas_.size());
}

std::vector<Replica*> Trainer::replicas() {
  std::vector<Replica*> all;
  for (const auto& replica : replicas_) all.push_back(replica.get());
  return all;
}

std::vector<ReplicaSummary> Trainer::run(const std::filesystem::path& run_folder) {
  const RunSettings& base = config_.base;
  std::vector<Replica*> first_seed = replicas();
  first_seed.resize(config_.arms.size());
  log_run_header(config_, device_description_, train_file_, valid_file_, first_seed);
  metrics_ = std::make_unique<MetricsLog>(run_folder, base.logging.tensorboard);
  BatchSource source(train_file_, sequences_, make_batch_plan(base), step_, base.train.steps);
  start_seconds_ = now_seconds();
  start_step_ = step_;
  while (step_ < base.train.steps) {
    train_step(source);
    if (due(step_, base.logging.every, base.train.steps)) log_decays();
    if (due(step_, base.validation.every, base.train.steps)) validate();
    if (due(step_, base.checkpoint.every, base.train.steps)) save(run_folder);
  }
  const double entropy = valid_file_.unigram_entropy();  // what the validation NLL is compared with
  std::vector<ReplicaSummary> summaries;
  for (size_t i = 0; i < replicas_.size(); ++i) {
    summaries.push_back(summarize(*replicas_[i], costs_[i % config_.arms.size()], validation_nll_[i], entropy,
                                  device_description_.peak_flops));
  }
  write_summary(run_folder / "summary.json", summaries, entropy, device_description_);
  spdlog::info("{} steps in {}\n{}", base.train.steps, format_duration(now_seconds() - start_seconds_),
               summary_table(summaries, entropy));
  metrics_.reset();
  return summaries;
}

void Trainer::train_step(BatchSource& source) {
  const size_t arms = config_.arms.size();
  const std::vector<size_t> order = arm_order(step_, arms);
  for (size_t seed = 0; seed < config_.base.train.seeds.size(); ++seed) {
    const StepBatch batch = source.next();
    RSE_ASSERT(batch.step == step_, "batch of step {} in step {}", batch.step, step_);
    std::vector<DeviceBatch> micro_batches;
    for (const TokenBatch& micro : batch.micro_batches) micro_batches.push_back(to_device(micro, device_));
    for (size_t place = 0; place < arms; ++place) {
      Replica& replica = *replicas_[seed * arms + order[place]];
      Replica::Pending pending = replica.update(step_, micro_batches, batch.targets, batch.tokens);
      pending.known.order = static_cast<int64_t>(place);
      in_flight_.push({&replica, std::move(pending)});
    }
  }
  ++step_;
  drain(device_.is_cuda() ? replicas_.size() : 0);
}

void Trainer::drain(size_t leave) {
  while (in_flight_.size() > leave) {
    InFlight oldest = std::move(in_flight_.front());
    in_flight_.pop();
    record(*oldest.replica, oldest.replica->read(std::move(oldest.pending)));
  }
}

void Trainer::record(Replica& replica, const UpdateResult& result) {
  metrics_->update(replica, result);
  if (result.skipped) {
    spdlog::warn("step {}: {}: loss {} and gradient norm {} are not both finite: update skipped ({} so far)",
                 result.step + 1, replica.label(), result.loss, result.grad_norm, replica.counters.skipped);
  }
  if (replica.counters.skipped_in_a_row >= kMaxSkippedInARow) fail(replica);
  const int64_t steps = config_.base.train.steps;
  if (!due(result.step + 1, config_.base.logging.every, steps)) return;
  size_t arm = 0;
  while (config_.arms[arm].name != replica.arm().name) ++arm;
  const double seconds_a_step =
      (now_seconds() - start_seconds_) / static_cast<double>(result.step + 1 - start_step_);
  spdlog::info(
      "{}", progress_line(replica, result, steps, costs_[arm].flop_per_token, device_description_.peak_flops,
                          seconds_a_step * static_cast<double>(steps - result.step - 1)));
}

void Trainer::fail(const Replica& replica) {
  metrics_->flush();
  throw TrainingFailed(
      fmt::format("arm {}, seed {}: loss or gradients were not finite in {} updates in a row, up to step {}: "
                  "the run ends. A lower "
                  "learning rate, a longer warm-up or precision float32 may help",
                  replica.arm().name, replica.seed(), kMaxSkippedInARow, replica.counters.step));
}

void Trainer::log_decays() {
  drain(0);
  for (const auto& replica : replicas_) {
    const torch::Tensor lambda = replica->encoder()->position().decays();
    if (lambda.defined()) metrics_->decay(*replica, step_, lambda);
  }
  metrics_->flush();
}

void Trainer::validate() {
  drain(0);
  EvaluationSettings settings;
  settings.masking = config_.base.data.mask;
  settings.seed = static_cast<uint64_t>(config_.base.validation.seed);
  settings.window = config_.base.validation.window(config_.base.data.seq_len);
  settings.batch_tokens = config_.base.validation.batch_tokens;
  settings.device = device_;
  settings.bf16 = config_.base.train.precision == Precision::kBf16;
  for (size_t i = 0; i < replicas_.size(); ++i) {
    const ValidationResult result = evaluate(replicas_[i]->encoder(), validation_set_, settings);
    validation_nll_[i] = result.mean_nll;
    metrics_->validation(*replicas_[i], step_, result.mean_nll, result.targets);
    spdlog::info("step {}/{} {} seed {}: validation NLL {:.4f} ({} targets, window {})", step_,
                 config_.base.train.steps, replicas_[i]->arm().name, replicas_[i]->seed(), result.mean_nll,
                 result.targets, settings.window);
  }
  metrics_->flush();
}

void Trainer::save(const std::filesystem::path& run_folder) {
  drain(0);
  metrics_->flush();
  const auto folder = save_checkpoint(run_folder, step_, replicas(), config_.dump(),
                                      train_file_.tokenizer_model(), config_.base.checkpoint.keep);
  spdlog::info("step {}: checkpoint {}", step_, folder.string());
}

}  // namespace rse
