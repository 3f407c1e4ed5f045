#include "train/run_writer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>

#include "core/logging.h"
#include "run/retention.h"

namespace rse {

RunWriter::RunWriter(const std::filesystem::path& run_folder, const RunConfig& config,
                     const DeviceDescription& device, RunProgress& progress)
    : run_folder_(run_folder),
      config_(config),
      device_(device),
      metrics_(run_folder, config.base.logging.tensorboard, progress.step, progress.metrics_bytes),
      first_step_(progress.step) {
  const std::vector<int64_t> present = complete_checkpoints(run_folder);
  const bool best_is_there =
      progress.best && std::binary_search(present.begin(), present.end(), progress.best->step);
  if (!config.base.checkpoint.keep_best || !best_is_there) progress.best.reset();
  prune(progress);
  start_seconds_ = now_seconds();  // the removal of old checkpoints is no part of the time per step
}

void RunWriter::update(const Replica& replica, const UpdateResult& result) {
  metrics_.update(replica, result);
  if (!result.skipped) return;
  spdlog::warn("step {}: {}: loss {} and gradient norm {} are not both finite: update skipped ({} so far)",
               result.step + 1, replica.label(), result.loss, result.grad_norm, replica.counters.skipped);
}

void RunWriter::log_progress(const Replica& replica, const UpdateResult& result, double flop_per_token) {
  const int64_t steps = config_.base.train.steps, step = result.step + 1;
  const UpdateSizes sizes = config_.base.train.update_sizes();
  const auto done = static_cast<double>(sizes.before(step) - sizes.before(first_step_));
  const auto left = static_cast<double>(sizes.before(steps) - sizes.before(step));
  spdlog::info("{}", progress_line(replica, result, steps, flop_per_token, device_.peak_flops,
                                   (now_seconds() - start_seconds_) / done * left));
}

void RunWriter::decays(const Replica& replica, int64_t step, const torch::Tensor& lambda) {
  metrics_.decay(replica, step, lambda);
}

void RunWriter::validation(const Replica& replica, int64_t step, const ValidationResult& result) {
  metrics_.validation(replica, step, result.mean_nll, result.targets);
  spdlog::info("step {}/{} {} seed {}: validation NLL {:.4f} ({} targets, window {})", step,
               config_.base.train.steps, replica.arm().name, replica.seed(), result.mean_nll, result.targets,
               config_.base.validation.window(config_.base.data.seq_len));
}

void RunWriter::flush() { metrics_.flush(); }

void RunWriter::checkpoint(RunProgress& progress, const std::vector<ReplicaSnapshot>& replicas,
                           std::string_view tokenizer_model) {
  progress.metrics_bytes = metrics_.sync();
  const auto folder = save_checkpoint(run_folder_, progress, replicas, config_.dump(), tokenizer_model);
  spdlog::info("step {}: checkpoint {}", progress.step, folder.string());
  prune(progress);
}

void RunWriter::summary(const std::vector<ReplicaSummary>& summaries, double unigram_entropy, int64_t step) {
  write_summary(run_folder_ / "summary.json", summaries, unigram_entropy, device_);
  spdlog::info("{} steps in {}", step - first_step_, format_duration(now_seconds() - start_seconds_));
  log_lines(summary_table(summaries, unigram_entropy));
}

void RunWriter::prune(const RunProgress& progress) const {
  const auto best = progress.best ? std::optional(progress.best->step) : std::nullopt;
  remove_old_checkpoints(run_folder_, config_.base.checkpoint.keep, best);
}

}  // namespace rse
