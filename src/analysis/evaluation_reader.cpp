#include "analysis/evaluation_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "core/check.h"
#include "core/file.h"

namespace rse {
namespace {

using Json = nlohmann::json;

// A value of the file with its key, so that an error can name both.
class Node {
 public:
  Node(const std::filesystem::path& file, std::string key, const Json& value)
      : file_(file), key_(std::move(key)), value_(value) {}

  Node at(const std::string& name) const {
    const std::string key = key_.empty() ? name : key_ + "." + name;
    if (!value_.is_object()) refuse("an object");
    const auto found = value_.find(name);
    if (found == value_.end()) {
      throw_user_error("{}: not an evaluation as rse-eval writes it: '{}' is missing", file_.string(), key);
    }
    return {file_, key, *found};
  }

  std::vector<Node> items() const {
    if (!value_.is_array()) refuse("a list");
    std::vector<Node> nodes;
    for (size_t i = 0; i < value_.size(); ++i) {
      nodes.emplace_back(file_, fmt::format("{}[{}]", key_, i), value_[i]);
    }
    return nodes;
  }

  // Numbers and texts; UserError where the value is of another kind.
  template <typename T>
  T get() const {
    if constexpr (std::is_same_v<T, std::string>) {
      if (!value_.is_string()) refuse("a text");
    } else if constexpr (std::is_same_v<T, bool>) {
      if (!value_.is_boolean()) refuse("true or false");
    } else if constexpr (std::is_unsigned_v<T>) {
      if (!value_.is_number_unsigned()) refuse("a whole number of at least 0");
    } else if constexpr (std::is_integral_v<T>) {
      if (!value_.is_number_integer()) refuse("a whole number");
    } else {
      if (!value_.is_number()) refuse("a number");
    }
    return value_.get<T>();
  }

  template <typename T>
  std::vector<T> list() const {
    std::vector<T> values;
    for (const Node& item : items()) values.push_back(item.get<T>());
    return values;
  }

  // nullopt where the key is absent or the value is no number: what is not known is null.
  std::optional<double> number(const char* name) const {
    const Json value = value_.value(name, Json());
    return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
  }

  const Json& value() const { return value_; }

  [[noreturn]] void refuse(const char* expected) const {
    throw_user_error("{}: not an evaluation as rse-eval writes it: {}: '{}', expected {}", file_.string(),
                     key_, value_.dump().substr(0, 80), expected);
  }

 private:
  const std::filesystem::path& file_;
  std::string key_;
  const Json& value_;
};

void expect(bool good, const std::filesystem::path& file, const char* what) {
  if (!good) throw_user_error("{}: expected {}", file.string(), what);
}

ArmCost read_cost(const Node& node) {
  ArmCost cost;
  cost.arm = node.at("arm").get<std::string>();
  if (node.value().contains("device")) cost.device = node.at("device").get<std::string>();
  cost.differs = node.at("differs").get<std::string>();
  cost.parameters = node.at("parameters").get<int64_t>();
  cost.position_parameters = node.at("position_parameters").get<int64_t>();
  cost.decay_parameters = node.at("decay_parameters").get<int64_t>();
  cost.table_bytes = node.at("table_bytes").get<int64_t>();
  cost.flop_per_token = node.at("flop_per_token").get<double>();
  cost.flop_formula = node.at("flop_formula").get<std::string>();
  if (const auto memory = node.number("memory_bytes")) cost.memory_bytes = static_cast<int64_t>(*memory);
  cost.step_ms = node.number("step_ms_median");
  cost.step_ms_spread = node.number("step_ms_interquartile_range");
  cost.tokens_per_second = node.number("tokens_per_second");
  cost.mfu = node.number("mfu");
  return cost;
}

ReplicaDecay read_decay(const Node& node) {
  ReplicaDecay decay{node.at("arm").get<std::string>(), node.at("seed").get<uint64_t>(), {}};
  for (const Node& layer : node.at("lambda").items()) decay.lambda.push_back(layer.list<double>());
  return decay;
}

StoredReplica read_replica(const Node& node) {
  const auto seeds = node.at("seeds").items();
  if (seeds.size() != 1) node.at("seeds").refuse("a list of one seed");
  StoredReplica replica{node.at("arm").get<std::string>(), seeds.front().get<uint64_t>(), {}};
  for (const Node& result : node.at("results").items()) {
    replica.seconds.push_back(result.at("seconds").get<double>());
  }
  return replica;
}

FileOverlap read_overlap(const Node& node) {
  FileOverlap overlap;
  overlap.same_content = node.at("same_content").get<bool>();
  overlap.same_file = node.at("same_file").get<bool>();
  const Node documents = node.at("documents");
  if (!documents.value().is_null()) overlap.documents = documents.get<int64_t>();
  return overlap;
}

// An evaluation that was written before overlaps were looked for still knows whether contents are the same.
DataOverlap read_overlap(const Node& root, const EvaluationMeta& meta) {
  if (!root.value().contains("overlap")) {
    DataOverlap overlap;
    const auto same = [&](size_t file) {
      return file < meta.trained_on.size() && meta.trained_on[file] == meta.data_fingerprint;
    };
    overlap.train.same_content = same(0);
    overlap.valid.same_content = same(1);
    return overlap;
  }
  const Node node = root.at("overlap");
  return {node.at("documents").get<int64_t>(), read_overlap(node.at("train")),
          read_overlap(node.at("valid"))};
}

EvaluationMeta read_meta(const Node& root, const std::filesystem::path& file) {
  const Node protocol = root.at("protocol");
  EvaluationMeta meta;
  meta.program = protocol.at("program").get<std::string>();
  meta.run = protocol.at("run").get<std::string>();
  meta.step = protocol.at("step").get<int64_t>();
  meta.data = protocol.at("data").get<std::string>();
  meta.data_fingerprint = protocol.at("data_fingerprint").get<std::string>();
  meta.trained_on = protocol.at("trained_on").list<std::string>();
  meta.overlap = read_overlap(root, meta);
  meta.pieces = protocol.at("pieces").get<int64_t>();
  meta.piece_selection = protocol.at("piece_selection").get<std::string>();
  meta.piece_tokens = protocol.at("piece_tokens").get<int64_t>();
  meta.lengths = protocol.at("lengths").list<int64_t>();
  const Node control = protocol.at("control_window");
  meta.control_window = control.value().is_null() ? 0 : control.get<int64_t>();
  meta.beyond = protocol.at("beyond").get<std::string>();
  const Node masking = protocol.at("masking");
  expect(masking.at("seed").value().is_number_unsigned(), file, "a seed of the masks of at least 0");
  meta.mask_probability = masking.at("probability").get<double>();
  meta.mask_share = masking.at("mask_share").get<double>();
  meta.random_share = masking.at("random_share").get<double>();
  meta.mask_seed = masking.at("seed").get<uint64_t>();
  meta.device = protocol.at("device").get<std::string>();
  meta.precision = protocol.at("precision").get<std::string>();
  meta.batch_tokens = protocol.at("batch_tokens").get<int64_t>();
  for (const Node& cost : root.at("costs").items()) meta.costs.push_back(read_cost(cost));
  for (const Node& decay : root.at("decay").items()) meta.decay.push_back(read_decay(decay));
  meta.configuration = root.at("configuration").get<std::string>();
  return meta;
}

// Keys of the protocol that may differ: where and with what it ran. `data` is a name; its content is compared
// by data_fingerprint.
bool may_differ(const std::string& key) {
  return key == "run" || key == "device" || key == "program" || key == "batch_tokens" || key == "data";
}

}  // namespace

StoredEvaluation read_evaluation(const std::filesystem::path& file) {
  const Json parsed = Json::parse(read_file(file), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object() || parsed.value("format", Json()) != 1) {
    throw_user_error("{}: expected an evaluation of format 1", file.string());
  }
  const Node root(file, "", parsed);
  const Node protocol = root.at("protocol");
  StoredEvaluation stored;
  stored.meta = read_meta(root, file);
  stored.targets = protocol.at("targets").get<int64_t>();
  stored.trained_length = protocol.at("trained_length").get<int64_t>();
  stored.unigram_entropy = protocol.at("unigram_entropy").get<double>();
  for (const Node& arm : root.at("arms").items()) stored.arms.push_back(arm.at("arm").get<std::string>());
  for (const Node& replica : root.at("replicas").items()) stored.replicas.push_back(read_replica(replica));
  for (const auto& [key, value] : protocol.value().items()) stored.protocol.emplace_back(key, value.dump());

  const auto& lengths = stored.meta.lengths;
  expect(std::all_of(lengths.begin(), lengths.end(), [](int64_t length) { return length >= 1; }), file,
         "lengths of at least 1");
  expect(stored.unigram_entropy > 0, file, "a unigram entropy above 0");
  expect(stored.meta.pieces >= 1, file, "at least one piece");
  expect(!stored.replicas.empty(), file, "at least one replica");
  expect(stored.meta.costs.size() == stored.arms.size(), file, "the costs of every arm");
  return stored;
}

void check_same_protocol(const StoredEvaluation& first, const std::filesystem::path& first_folder,
                         const StoredEvaluation& other, const std::filesystem::path& other_file) {
  for (const auto& [key, value] : first.protocol) {
    if (may_differ(key)) continue;
    const auto found = std::find_if(other.protocol.begin(), other.protocol.end(),
                                    [&name = key](const auto& item) { return item.first == name; });
    const std::string value_there = found == other.protocol.end() ? "null" : found->second;
    if (value_there == value) continue;
    throw_user_error("{}: protocol.{}: {}, expected {} as in {}", other_file.string(), key, value_there,
                     value, first_folder.string());
  }
}

}  // namespace rse
