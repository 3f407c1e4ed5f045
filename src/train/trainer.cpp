#include "train/trainer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "eval/device_batch.h"
#include "run/arm_report.h"

namespace rse {
namespace {

// Whether something that is due every `every` steps is due in `step` (from 1). It is at the end of the run,
// and with every = 0 only then.
bool hits(int64_t step, int64_t every, int64_t steps) {
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
  plan.ramp = settings.train.batch_ramp;
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
  progress_.device = device_description_.name;
  progress_.train = fingerprint_of(train_file);
  progress_.valid = fingerprint_of(valid_file);
}

std::vector<Replica*> Trainer::replicas() {
  std::vector<Replica*> all;
  for (const auto& replica : replicas_) all.push_back(replica.get());
  return all;
}

int64_t Trainer::parameters() const {
  int64_t sum = 0;
  for (const ModelReport& cost : costs_) sum += cost.parameters;
  return sum * static_cast<int64_t>(config_.base.train.seeds.size());
}

void Trainer::restore(const std::filesystem::path& checkpoint, const TrainerState& state) {
  for (const auto& replica : replicas_) replica->restore(checkpoint, state);
  progress_ = state;
}

void Trainer::begin(const std::filesystem::path& run_folder) {
  std::vector<Replica*> first_seed = replicas();
  first_seed.resize(config_.arms.size());
  log_run_header(config_, device_description_, train_file_, valid_file_, first_seed);
  if (progress_.device != device_description_.name) {
    spdlog::warn("trained so far on {}, and now on {}: results may differ in the last bits", progress_.device,
                 device_description_.name);
    progress_.device = device_description_.name;
  }
  writer_ = std::make_unique<RunWriter>(run_folder, config_, device_description_, progress_);
}

std::vector<ReplicaSummary> Trainer::run(const std::filesystem::path& run_folder,
                                         const std::function<bool()>& stop_requested) {
  const RunSettings& base = config_.base;
  stop_requested_ = stop_requested;
  begin(run_folder);
  BatchSource source(train_file_, sequences_, make_batch_plan(base), progress_.step, base.train.steps);
  bool complete = true;  // whether nothing of the last step is missing
  if (progress_.step > 0 && due(base.validation.every) && progress_.validation_step != progress_.step) {
    complete = validate();
    if (complete) rank_checkpoint();
  }
  while (complete && progress_.step < base.train.steps) {
    train_step(source);
    if (due(base.logging.every)) log_decays();
    complete = !due(base.validation.every) || validate();
    if (progress_.step < base.train.steps && this->stop_requested()) complete = false;
    if (!complete || due(base.checkpoint.every)) save();
  }
  if (!complete) {
    throw Interrupted(fmt::format("as asked, after step {} of {}, which is saved; --resume goes on from it",
                                  progress_.step, base.train.steps));
  }
  return finish();
}

std::vector<ReplicaSummary> Trainer::finish() {
  const double entropy = valid_file_.unigram_entropy();  // for comparison with the validation NLL
  std::vector<ReplicaSummary> summaries;
  for (size_t i = 0; i < replicas_.size(); ++i) {
    summaries.push_back(summarize(*replicas_[i], costs_[i % config_.arms.size()],
                                  replicas_[i]->counters.validation_nll.value(), entropy,
                                  device_description_.peak_flops));
  }
  writer_->summary(summaries, entropy, progress_.step);
  writer_.reset();
  return summaries;
}

void Trainer::train_step(BatchSource& source) {
  const size_t arms = config_.arms.size();
  const std::vector<size_t> order = arm_order(progress_.step, arms);
  for (size_t seed = 0; seed < config_.base.train.seeds.size(); ++seed) {
    const StepBatch batch = source.next();
    RSE_ASSERT(batch.step == progress_.step, "batch of step {} in step {}", batch.step, progress_.step);
    std::vector<DeviceBatch> micro_batches;
    for (const TokenBatch& micro : batch.micro_batches) micro_batches.push_back(to_device(micro, device_));
    for (size_t place = 0; place < arms; ++place) {
      Replica& replica = *replicas_[seed * arms + order[place]];
      Replica::Pending pending = replica.update(progress_.step, micro_batches, batch.targets, batch.tokens);
      pending.known.order = static_cast<int64_t>(place);
      in_flight_.push({&replica, std::move(pending)});
    }
  }
  ++progress_.step;
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
  writer_->update(replica, result);
  if (replica.counters.skipped_in_a_row >= kMaxSkippedInARow) fail(replica);
  if (!hits(result.step + 1, config_.base.logging.every, config_.base.train.steps)) return;
  size_t arm = 0;
  while (config_.arms[arm].name != replica.arm().name) ++arm;
  writer_->log_progress(replica, result, costs_[arm].flop_per_token);
}

void Trainer::fail(const Replica& replica) {
  writer_->flush();
  throw TrainingFailed(
      fmt::format("arm {}, seed {}: loss or gradients were not finite in {} updates in a row, up to step {}: "
                  "the run ends. A lower learning rate, a longer warm-up or precision float32 may help",
                  replica.arm().name, replica.seed(), kMaxSkippedInARow, replica.counters.step));
}

bool Trainer::due(int64_t every) const { return hits(progress_.step, every, config_.base.train.steps); }

bool Trainer::stop_requested() const { return stop_requested_ && stop_requested_(); }

void Trainer::log_decays() {
  drain(0);
  for (const auto& replica : replicas_) {
    const torch::Tensor lambda = replica->encoder()->position().decays();
    if (lambda.defined()) writer_->decays(*replica, progress_.step, lambda);
  }
  writer_->flush();
}

bool Trainer::validate() {
  drain(0);
  EvaluationSettings settings;
  settings.masking = config_.base.validation_mask();
  settings.seed = static_cast<uint64_t>(config_.base.validation.seed);
  settings.window = config_.base.validation.window(config_.base.data.seq_len);
  settings.batch_tokens = config_.base.validation.batch_tokens;
  settings.device = device_;
  settings.bf16 = config_.base.train.precision == Precision::kBf16;
  std::vector<ValidationResult> results;
  for (const auto& replica : replicas_) {
    if (stop_requested()) return false;
    results.push_back(evaluate(replica->encoder(), validation_set_, settings));
  }
  for (size_t i = 0; i < replicas_.size(); ++i) {
    Replica& replica = *replicas_[i];
    replica.counters.validation_nll = results[i].mean_nll;
    writer_->validation(replica, progress_.step, results[i]);
  }
  progress_.validation_step = progress_.step;
  writer_->flush();
  return true;
}

void Trainer::rank_checkpoint() {
  if (!config_.base.checkpoint.keep_best || progress_.validation_step != progress_.step) return;
  double mean = 0;
  for (const auto& replica : replicas_) mean += replica->counters.validation_nll.value();
  mean /= static_cast<double>(replicas_.size());
  if (!std::isfinite(mean) || (progress_.best && progress_.best->nll <= mean)) return;
  progress_.best = {progress_.step, mean};
}

void Trainer::save() {
  drain(0);
  rank_checkpoint();
  std::vector<ReplicaSnapshot> snapshots;
  for (const auto& replica : replicas_) snapshots.push_back(replica->snapshot());
  writer_->checkpoint(progress_, snapshots, train_file_.tokenizer_model());
}

}  // namespace rse
