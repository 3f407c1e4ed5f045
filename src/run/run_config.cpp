#include "run/run_config.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>

#include "core/check.h"
#include "core/hash.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMany = int64_t{1} << 40;

// What may be done to a key beyond setting it for a new run (core/key_rules.h).
constexpr KeyRule kOverriddenByArms{.arm_may_override = true};
constexpr KeyRule kDiffersWhenCombined{.combined_may_differ = true};
// Nothing that is trained or measured depends on the key.
constexpr KeyRule kChangesNothing{.resume_may_change = true, .combined_may_differ = true};
constexpr KeyRule kSameTokens{
    .resume_may_change = true, .condition = "to the same tokens elsewhere", .combined_may_differ = true};
constexpr KeyRule kChangesLastBits{.resume_may_change = true,
                                   .resume_price = "results may differ in the last bits",
                                   .combined_may_differ = true};
constexpr KeyRule kChangesSchedule{
    .resume_may_change = true,
    .resume_price = "the schedule is a function of it, so learning rates differ from here on"};

// Appends every leaf of an arm's override as "a.b=c". A key that would make the comparison unfair is an
// error.
void collect_overrides(const ConfigNode& node, const std::string& arm, const std::string& path,
                       std::vector<std::string>& out) {
  if (node.kind == ConfigNode::Kind::kMap) {
    for (const auto& [key, value] : node.entries) {
      collect_overrides(value, arm, path.empty() ? key : path + "." + key, out);
    }
    return;
  }
  if (path.empty() && node.kind == ConfigNode::Kind::kNull) return;
  if (!run_key_rules().at(path).arm_may_override) {
    throw_user_error("{}: arms.{}.{}: an arm may override {}; everything else is the same for all arms",
                     node.where, arm, path.empty() ? "(value)" : path,
                     run_key_rules().list(&KeyRule::arm_may_override));
  }
  out.push_back(path + "=" + (node.kind == ConfigNode::Kind::kScalar ? node.scalar : "..."));
}

void check_arm_name(const std::string& name, const std::string& where) {
  const bool good = !name.empty() && name.size() <= 64 && name.front() != '.' && name.front() != '-' &&
                    std::all_of(name.begin(), name.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
                    });
  if (!good) {
    throw_user_error(
        "{}: arms: name '{}': expected 1 to 64 letters, digits, '_', '-' or '.', not '.' or '-' first", where,
        name);
  }
}

ArmConfig make_arm(const ConfigNode& base, const std::string& name, const ConfigNode& override_node) {
  ArmConfig arm;
  std::vector<std::string> differs;
  check_arm_name(name, override_node.where);
  collect_overrides(override_node, name, "", differs);
  ConfigNode tree = base;
  if (override_node.kind == ConfigNode::Kind::kMap) merge_config(tree, override_node);
  RunSettings settings;
  bind_config(tree, settings);
  arm.name = name;
  arm.model = settings.model;
  arm.model.attention.deterministic |= settings.train.deterministic;
  arm.learning_rate = settings.train.learning_rate;
  arm.decay_learning_rate = settings.train.decay_learning_rate;
  arm.differs = fmt::format("{}", fmt::join(differs, ", "));
  const ConfigNode* train = override_node.find("train");
  if (const ConfigNode* rate = train == nullptr ? nullptr : train->find("decay_learning_rate");
      rate != nullptr && !arm.has_decay()) {
    throw_user_error(
        "{}: arms.{}.train.decay_learning_rate: '{}': method '{}' has no decay, its parameter group is empty",
        rate->where, name, rate->scalar, arm.model.position.method);
  }
  return arm;
}

}  // namespace

const EnumNames<Precision>& precision_names() {
  static const EnumNames<Precision> kNames = {{"float32", Precision::kFloat32}, {"bf16", Precision::kBf16}};
  return kNames;
}

const EnumNames<DeviceChoice>& device_choice_names() {
  static const EnumNames<DeviceChoice> kNames = {
      {"auto", DeviceChoice::kAuto}, {"cpu", DeviceChoice::kCpu}, {"cuda", DeviceChoice::kCuda}};
  return kNames;
}

const EnumNames<OptimizerKind>& optimizer_kind_names() {
  static const EnumNames<OptimizerKind> kNames = {{"adamw", OptimizerKind::kAdamW},
                                                  {"stable_adamw", OptimizerKind::kStableAdamW}};
  return kNames;
}

void DataConfig::bind(ConfigBinder& b) {
  b.path_field("train", train, kSameTokens);
  b.path_field("valid", valid, kSameTokens);
  b.field("seq_len", seq_len, between<int64_t>(1, int64_t{1} << 24));
  b.choice("packing", packing, packing_names());
  b.field("min_tokens", min_tokens, between<int64_t>(1, int64_t{1} << 24));
  b.group("mask", mask);
  if (b.reading() && packing == Packing::kDocument && min_tokens > seq_len) {
    throw_user_error("{}: {}: '{}': expected at most {} ({})", b.where("min_tokens"), b.path("min_tokens"),
                     min_tokens, b.path("seq_len"), seq_len);
  }
}

void BatchRampConfig::bind(ConfigBinder& b) {
  b.field("start", start, between<int64_t>(0, kMany));
  b.field("steps", steps, between<int64_t>(0, int64_t{1} << 24));
  if (!b.reading() || (start == 0) == (steps == 0)) return;
  const char *set = start == 0 ? "steps" : "start", *missing = start == 0 ? "start" : "steps";
  throw_user_error("{}: {}: '{}', but {} is 0: expected both to be set, or both to be 0 (no ramp)",
                   b.where(set), b.path(set), start + steps, b.path(missing));
}

void TrainConfig::bind(ConfigBinder& b) {
  b.field("steps", steps, between<int64_t>(1, int64_t{1} << 24), kChangesSchedule);
  b.field("batch_size", batch_size, between<int64_t>(1, int64_t{1} << 20));
  b.field("accumulation", accumulation, between<int64_t>(1, int64_t{1} << 20));
  b.group("batch_ramp", batch_ramp);
  b.field("seeds", seeds, between<int64_t>(0, kMany), kDiffersWhenCombined);
  b.choice("optimizer", optimizer, optimizer_kind_names());
  b.field("learning_rate", learning_rate, Range<double>{0.0, 1e6, true, false}, kOverriddenByArms);
  b.field("decay_learning_rate", decay_learning_rate, Range<double>{0.0, 1e6, true, false},
          kOverriddenByArms);
  b.field("weight_decay", weight_decay, between(0.0, 1e3));
  b.field("betas", betas, Range<double>{0.0, 1.0, false, true});
  b.field("eps", eps, Range<double>{0.0, 1.0, true, false});
  b.choice("schedule", schedule, schedule_shape_names());
  b.field("warmup_steps", warmup_steps, between<int64_t>(0, int64_t{1} << 24));
  b.field("min_lr", min_lr, between(0.0, 1.0));
  b.field("decay_steps", decay_steps, between<int64_t>(0, int64_t{1} << 24), kChangesSchedule);
  b.choice("decay_shape", decay_shape, decay_shape_names(), kChangesSchedule);
  b.field("clip_norm", clip_norm, between(0.0, 1e12));
  b.choice("precision", precision, precision_names());
  b.choice("device", device, device_choice_names(), kChangesLastBits);
  // With 2048 threads, LibTorch's OpenMP overruns a stack.
  b.field("threads", threads, between<int64_t>(0, 1024), kChangesLastBits);
  b.field("deterministic", deterministic);
  b.choice("recompute", recompute, recompute_names(), kChangesNothing);
  b.field("peak_tflops", peak_tflops, between(0.0, 1e9), kChangesNothing);
  if (b.reading()) check_together(b);
}

void TrainConfig::check_together(const ConfigBinder& b) const {
  if (betas.size() != 2) {
    throw_user_error("{}: {}: {} values: expected two, such as [0.9, 0.98]", b.where("betas"),
                     b.path("betas"), betas.size());
  }
  if (seeds.empty() || std::set<int64_t>(seeds.begin(), seeds.end()).size() != seeds.size()) {
    throw_user_error("{}: {}: [{}]: expected at least one seed, each once", b.where("seeds"), b.path("seeds"),
                     fmt::join(seeds, ", "));
  }
  if (batch_ramp.start > batch_size * accumulation) {
    throw_user_error(
        "{}: {}.start: '{}': expected at most {} ({} x {} sequences, an update's after the ramp)",
        b.where("batch_ramp"), b.path("batch_ramp"), batch_ramp.start, batch_size * accumulation,
        b.path("batch_size"), b.path("accumulation"));
  }
  const bool wsd = schedule == ScheduleShape::kWsd;
  if (!wsd && decay_steps != 0) {
    throw_user_error("{}: {}: '{}': expected 0, because {} is not wsd", b.where("decay_steps"),
                     b.path("decay_steps"), decay_steps, b.path("schedule"));
  }
  if (!wsd && decay_shape != DecayShape::kSqrt) {
    throw_user_error("{}: {}: '{}': expected sqrt, the default, because {} is not wsd",
                     b.where("decay_shape"), b.path("decay_shape"),
                     decay_shape == DecayShape::kLinear ? "linear" : "cosine", b.path("schedule"));
  }
}

void ValidationConfig::bind(ConfigBinder& b) {
  constexpr int64_t kMany = int64_t{1} << 24;
  b.field("every", every, between<int64_t>(0, kMany));
  b.field("length", length, between<int64_t>(0, kMany));
  b.field("piece_tokens", piece_tokens, between<int64_t>(0, kMany));
  b.field("pieces", pieces, between<int64_t>(0, kMany));
  b.field("seed", seed, at_least<int64_t>(0));
  b.field("batch_tokens", batch_tokens, between<int64_t>(1, int64_t{1} << 30));
  b.field("mask_rate", mask_rate, between(0.0, 1.0));
  if (b.reading() && length > 0 && piece_tokens % length != 0) {
    throw_user_error("{}: {}: '{}': expected a multiple of {} ({})", b.where("piece_tokens"),
                     b.path("piece_tokens"), piece_tokens, b.path("length"), length);
  }
}

void LoggingConfig::bind(ConfigBinder& b) {
  b.field("every", every, between<int64_t>(1, int64_t{1} << 24));
  b.field("tensorboard", tensorboard);
}

void CheckpointConfig::bind(ConfigBinder& b) {
  b.field("every", every, between<int64_t>(0, int64_t{1} << 24));
  b.field("keep", keep, between<int64_t>(1, 1000000));
  b.field("keep_best", keep_best);
}

void RunSettings::bind(ConfigBinder& b) {
  b.group("model", model, kOverriddenByArms);
  b.group("data", data);
  b.group("train", train);
  b.group("validation", validation);
  b.group("logging", logging, kChangesNothing);
  b.group("checkpoint", checkpoint, kChangesNothing);
  b.path_field("output", output, kChangesNothing);
  if (!b.reading()) return;
  if (train.batch_size > std::numeric_limits<int32_t>::max() / data.seq_len) {
    throw_user_error(
        "{}: train.batch_size: '{}': expected at most {}, "
        "so that a batch of data.seq_len {} has fewer than 2^31 tokens",
        b.where("train"), train.batch_size, std::numeric_limits<int32_t>::max() / data.seq_len, data.seq_len);
  }
}

MaskingConfig RunSettings::validation_mask() const {
  MaskingConfig mask = data.mask;
  if (validation.mask_rate > 0) mask.probability = validation.mask_rate;
  return mask;
}

const char* RunSettings::validation_mask_key() const {
  return validation.mask_rate > 0 ? "validation.mask_rate" : "data.mask.probability";
}

const KeyRules& run_key_rules() {
  static const KeyRules kRules = key_rules_of<RunSettings>();
  return kRules;
}

std::string RunConfig::dump() const {
  ConfigNode tree = dump_bound(base);
  if (overrides.kind == ConfigNode::Kind::kMap) tree.entries.emplace_back("arms", overrides);
  return dump_config(tree);
}

RunConfig make_run_config(ConfigNode tree, const fs::path& source) {
  RunConfig config;
  config.source = source;
  config.overrides = tree.take("arms");
  bind_config(tree, config.base);
  if (config.overrides.kind == ConfigNode::Kind::kNull) {
    config.arms.push_back(make_arm(tree, config.base.model.position.method, {}));
  } else if (config.overrides.kind != ConfigNode::Kind::kMap || config.overrides.entries.empty()) {
    throw_user_error("{}: arms: expected a map of NAME: overrides with at least one arm",
                     config.overrides.where);
  }
  for (const auto& [name, override_node] : config.overrides.entries) {
    config.arms.push_back(make_arm(tree, name, override_node));
  }
  if (config.base.output.empty()) config.base.output = "runs/" + source.stem().string();
  return config;
}

RunConfig load_run_config(const std::string& name, const std::vector<std::string>& assignments) {
  const fs::path source = find_config(name);
  ConfigNode tree = read_config_tree(source);
  for (const std::string& assignment : assignments) set_config_value(tree, assignment);
  return make_run_config(std::move(tree), source);
}

TokenFile open_token_file(const std::string& path, const char* key) {
  if (path.empty()) {
    throw_user_error(
        "{}: not set: expected a token file (make one with: rse-data prepare; or pass --set {}=FILE)", key,
        key);
  }
  if (!fs::exists(path)) {
    const std::string from = fs::path(path).is_absolute() ? "" : " in " + fs::current_path().string();
    throw_user_error("{}: '{}' does not exist{}: expected a token file (make one with: rse-data prepare)",
                     key, path, from);
  }
  TokenFile file(path);
  if (fs::file_size(path) <= kVerifiedOnOpening) file.verify();
  return file;
}

void resolve_vocabulary(RunConfig& config, const TokenFile& train, const TokenFile& valid) {
  if (train.tokenizer_hash() != valid.tokenizer_hash()) {
    throw_user_error("data.valid: {}: tokenizer {}, expected {} as in {}", valid.path().string(),
                     hex64(valid.tokenizer_hash()), hex64(train.tokenizer_hash()), train.path().string());
  }
  config.base.model.vocab_size =
      config.base.model.vocab_size == 0 ? train.vocab_size() : config.base.model.vocab_size;
  for (ArmConfig& arm : config.arms) {
    if (arm.model.vocab_size != 0 && arm.model.vocab_size != train.vocab_size()) {
      throw_user_error("{}: model.vocab_size: '{}' (arm {}): expected 0 or {}, the vocabulary of {}",
                       config.source.string(), arm.model.vocab_size, arm.name, train.vocab_size(),
                       train.path().string());
    }
    arm.model.vocab_size = train.vocab_size();
    const int64_t seq_len = config.base.data.seq_len;
    const int64_t longest = std::max(seq_len, config.base.validation.window(seq_len));
    const std::optional<LengthLimit> limit = arm.model.position.active().limit();
    if (limit && limit->refuses(longest)) {
      throw_user_error("{}: {}: '{}': arm {} expects at most {} ({}; beyond it {}: {})",
                       config.source.string(), longest == seq_len ? "data.seq_len" : "validation.length",
                       longest, arm.name, limit->positions, limit->key, limit->beyond_key,
                       limit->rule_names());
    }
  }
}

}  // namespace rse
