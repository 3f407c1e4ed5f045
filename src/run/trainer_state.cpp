#include "run/trainer_state.h"

#include <limits>

#include "core/check.h"
#include "core/file.h"
#include "core/hash.h"
#include "formats/json_file.h"

namespace rse {
namespace {

using nlohmann::json;

constexpr const char* kFile = "trainer.json";
constexpr int64_t kVersion = 2;

json to_json(const DataFingerprint& data) {
  return {{"documents", data.documents}, {"tokens", data.tokens}, {"fingerprint", hex64(data.fingerprint)}};
}

DataFingerprint data_from(const json& item) {
  return {item.at("documents").get<uint64_t>(), item.at("tokens").get<uint64_t>(),
          std::stoull(item.at("fingerprint").get<std::string>(), nullptr, 16)};
}

json to_json(const ReplicaState& replica) {
  const ReplicaCounters& counters = replica.counters;
  json item = {{"arm", replica.arm},
               {"seed", replica.seed},
               {"step", counters.step},
               {"tokens", counters.tokens},
               {"skipped", counters.skipped},
               {"skipped_in_a_row", counters.skipped_in_a_row},
               {"recent_losses", counters.recent_losses},
               {"step_times_ms", counters.step_times_ms},
               {"peak_bytes", counters.peak_bytes}};
  if (counters.validation_nll)
    item["validation_nll"] = *counters.validation_nll;  // JSON has null for what is not a number
  return item;
}

ReplicaState replica_from(const json& item) {
  ReplicaState replica;
  replica.arm = item.at("arm").get<std::string>();
  replica.seed = item.at("seed").get<uint64_t>();
  ReplicaCounters& counters = replica.counters;
  counters.step = item.at("step").get<int64_t>();
  counters.tokens = item.at("tokens").get<int64_t>();
  counters.skipped = item.at("skipped").get<int64_t>();
  counters.skipped_in_a_row = item.at("skipped_in_a_row").get<int64_t>();
  counters.recent_losses = item.at("recent_losses").get<std::deque<double>>();
  counters.step_times_ms = item.at("step_times_ms").get<std::deque<double>>();
  counters.peak_bytes = item.at("peak_bytes").get<int64_t>();
  if (item.contains("validation_nll")) {
    const json& nll = item["validation_nll"];
    counters.validation_nll = nll.is_null() ? std::numeric_limits<double>::quiet_NaN() : nll.get<double>();
  }
  return replica;
}

TrainerState state_from(const json& parsed) {
  TrainerState state;
  state.step = parsed.at("step").get<int64_t>();
  state.validation_step = parsed.at("validation_step").get<int64_t>();
  state.metrics_bytes = parsed.at("metrics_bytes").get<int64_t>();
  if (const json& best = parsed.at("best"); !best.is_null()) {
    state.best = {best.at("step").get<int64_t>(), best.at("nll").get<double>()};
  }
  state.device = parsed.at("device").get<std::string>();
  state.train = data_from(parsed.at("data").at("train"));
  state.valid = data_from(parsed.at("data").at("valid"));
  for (const json& item : parsed.at("replicas")) state.replicas.push_back(replica_from(item));
  return state;
}

}  // namespace

DataFingerprint fingerprint_of(const TokenFile& file) {
  return {file.documents(), file.tokens(), file.fingerprint()};
}

void write_trainer_state(const std::filesystem::path& checkpoint, const TrainerState& state) {
  json content = {{"version", kVersion},
                  {"step", state.step},
                  {"validation_step", state.validation_step},
                  {"metrics_bytes", state.metrics_bytes},
                  {"best", nullptr},
                  {"device", state.device},
                  {"data", {{"train", to_json(state.train)}, {"valid", to_json(state.valid)}}},
                  {"replicas", json::array()}};
  if (state.best) content["best"] = {{"step", state.best->step}, {"nll", state.best->nll}};
  for (const ReplicaState& replica : state.replicas) content["replicas"].push_back(to_json(replica));
  write_file_atomically(checkpoint / kFile, content.dump(2) + "\n");
}

TrainerState read_trainer_state(const std::filesystem::path& checkpoint) {
  const std::filesystem::path path = checkpoint / kFile;
  const json parsed = read_json_object(path);
  if (parsed.value("version", json()) != kVersion) {
    throw_user_error("{}: version {}, expected {}", path.string(), parsed.value("version", json()).dump(),
                     kVersion);
  }
  try {
    return state_from(parsed);
  } catch (const std::exception& error) {  // JSON of another shape, or a fingerprint that is no number
    throw_user_error("{}: not a trainer state: {}", path.string(), error.what());
  }
}

void check_same_data(const char* key, const TokenFile& file, const DataFingerprint& expected) {
  const DataFingerprint found = fingerprint_of(file);
  if (found == expected) return;
  throw_user_error(
      "{}: {}: {} tokens in {} documents, fingerprint {}: expected what the run was trained on, {} tokens in "
      "{} documents, fingerprint {}",
      key, file.path().string(), found.tokens, found.documents, hex64(found.fingerprint), expected.tokens,
      expected.documents, hex64(expected.fingerprint));
}

}  // namespace rse
