#include "train/metrics.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/check.h"

namespace rse {
namespace {

// The keys that every line begins with. step: how many updates the replica has made.
nlohmann::ordered_json line_head(const char* type, const Replica& replica, int64_t step) {
  return {{"type", type}, {"step", step}, {"seed", replica.seed()}, {"arm", replica.arm().name}};
}

[[noreturn]] void cannot_write(const std::filesystem::path& path) {
  throw_user_error("cannot write {}: {}", path.string(), std::strerror(errno));
}

// UserError unless the first `kept` bytes of `file` are there and end with a line.
void check_lines(int file, const std::filesystem::path& path, int64_t kept) {
  struct stat status {};
  if (::fstat(file, &status) != 0) cannot_write(path);
  if (status.st_size < kept) {
    throw_user_error("{}: {} bytes, expected at least {}, as when the checkpoint was saved", path.string(),
                     status.st_size, kept);
  }
  char last = '\n';
  if (kept > 0 && ::pread(file, &last, 1, kept - 1) != 1) cannot_write(path);
  if (last != '\n') {
    throw_user_error("{}: byte {} is inside a line, expected its end, as when the checkpoint was saved",
                     path.string(), kept);
  }
}

}  // namespace

void check_kept_metrics(const std::filesystem::path& run_folder, int64_t kept_bytes) {
  const std::filesystem::path path = run_folder / "metrics.jsonl";
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw_user_error("cannot open {}: {}", path.string(), std::strerror(errno));
  try {
    check_lines(file, path, kept_bytes);
  } catch (...) {
    ::close(file);
    throw;
  }
  ::close(file);
}

MetricsLog::MetricsLog(const std::filesystem::path& run_folder, bool tensorboard, int64_t step,
                       int64_t kept_bytes)
    : path_(run_folder / "metrics.jsonl"),
      tensorboard_folder_(run_folder / "tensorboard"),
      tensorboard_(tensorboard),
      first_step_(step + 1) {
  file_ = std::fopen(path_.c_str(), "a+b");
  if (file_ == nullptr) cannot_write(path_);
  try {
    check_lines(::fileno(file_), path_, kept_bytes);
    if (::ftruncate(::fileno(file_), kept_bytes) != 0) cannot_write(path_);
  } catch (...) {
    std::fclose(file_);
    throw;
  }
}

MetricsLog::~MetricsLog() { std::fclose(file_); }

void MetricsLog::update(const Replica& replica, const UpdateResult& result) {
  const int64_t step = result.step + 1;
  auto line = line_head("update", replica, step);
  line["order"] = result.order;
  line["loss"] = result.loss;
  line["grad_norm"] = result.grad_norm;
  line["learning_rate"] = result.rates.base;
  if (replica.arm().has_decay()) line["decay_learning_rate"] = result.rates.decay;
  line["tokens"] = result.tokens;
  line["step_ms"] = result.step_ms;
  line["skipped"] = result.skipped;
  write_line(line.dump());
  if (EventFile* file = events(replica)) {
    file->scalar("train/loss", step, result.loss);
    file->scalar("train/grad_norm", step, result.grad_norm);
    file->scalar("learning_rate/base", step, result.rates.base);
    if (replica.arm().has_decay()) file->scalar("learning_rate/decay", step, result.rates.decay);
    file->scalar("time/step_ms", step, result.step_ms);
  }
}

void MetricsLog::decay(const Replica& replica, int64_t step, const torch::Tensor& lambda) {
  RSE_ASSERT(lambda.dim() == 2 && lambda.device().is_cpu(), "lambda of shape [{}]",
             fmt::join(lambda.sizes(), ", "));
  const auto values = lambda.accessor<float, 2>();
  auto line = line_head("decay", replica, step);
  line["lambda"] = nlohmann::ordered_json::array();
  EventFile* file = events(replica);
  for (int64_t layer = 0; layer < values.size(0); ++layer) {
    auto row = nlohmann::ordered_json::array();
    for (int64_t head = 0; head < values.size(1); ++head) {
      row.push_back(values[layer][head]);
      if (file != nullptr) {
        file->scalar(fmt::format("lambda/layer_{:02}/head_{:02}", layer, head), step, values[layer][head]);
      }
    }
    line["lambda"].push_back(std::move(row));
  }
  write_line(line.dump());
}

void MetricsLog::validation(const Replica& replica, int64_t step, double nll, int64_t targets) {
  auto line = line_head("validation", replica, step);
  line["nll"] = nll;
  line["targets"] = targets;
  write_line(line.dump());
  if (EventFile* file = events(replica)) file->scalar("validation/nll", step, nll);
}

void MetricsLog::write_line(const std::string& json) {
  if (std::fprintf(file_, "%s\n", json.c_str()) < 0) cannot_write(path_);
}

void MetricsLog::flush() {
  if (std::fflush(file_) != 0) cannot_write(path_);
  for (auto& item : events_) item.second->flush();
}

int64_t MetricsLog::sync() {
  flush();
  struct stat status {};
  if (::fsync(::fileno(file_)) != 0 || ::fstat(::fileno(file_), &status) != 0) cannot_write(path_);
  return status.st_size;
}

EventFile* MetricsLog::events(const Replica& replica) {
  if (!tensorboard_) return nullptr;
  std::unique_ptr<EventFile>& file = events_[replica.label()];
  if (file == nullptr) {
    file = std::make_unique<EventFile>(tensorboard_folder_ / replica.label(), first_step_);
  }
  return file.get();
}

}  // namespace rse
