#include "eval/plan.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <set>

#include "analysis/statistics.h"
#include "core/check.h"

namespace rse {
namespace {

std::vector<std::string> split(const std::string& flag, const std::string& text) {
  std::vector<std::string> items;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    items.push_back(text.substr(begin, end - begin));
    if (items.back().empty()) {
      throw_user_error("{}: '{}': expected a list such as a,b, nothing empty in it", flag, text);
    }
    begin = end + 1;
  }
  return items;
}

std::vector<int64_t> split_numbers(const std::string& flag, const std::string& text) {
  std::vector<int64_t> numbers;
  for (const std::string& item : split(flag, text)) {
    int64_t number = 0;
    const char* end = item.data() + item.size();
    const auto [stop, error] = std::from_chars(item.data(), end, number);
    if (error != std::errc() || stop != end || number < 0) {
      throw_user_error("{}: '{}': expected whole numbers from 0 to {}, with commas between them", flag, item,
                       std::numeric_limits<int64_t>::max());
    }
    numbers.push_back(number);
  }
  return numbers;
}

// 0 where the flag is absent.
int64_t positive(const char* flag, const std::optional<int64_t>& value) {
  if (value && *value < 1) throw_user_error("{}: '{}': expected at least 1", flag, *value);
  return value.value_or(0);
}

// The value that `text` names.
template <typename E>
E choose(const char* flag, const std::string& text, const EnumNames<E>& names) {
  std::vector<std::string> known;
  for (const auto& [name, value] : names) {
    if (name == text) return value;
    known.push_back(name);
  }
  throw_user_error("{}: '{}': expected one of {}", flag, text, fmt::join(known, ", "));
}

// What is wanted of `all`, in their order; all where no list is given.
template <typename T>
std::vector<T> select(const char* flag, const std::vector<T>& all,
                      const std::optional<std::vector<T>>& wanted) {
  if (!wanted) return all;
  for (const T& item : *wanted) {
    if (std::find(all.begin(), all.end(), item) == all.end()) {
      throw_user_error("{}: '{}': expected some of the run's: {}", flag, item, fmt::join(all, ", "));
    }
  }
  std::vector<T> chosen;
  std::copy_if(all.begin(), all.end(), std::back_inserter(chosen), [&](const T& item) {
    return std::find(wanted->begin(), wanted->end(), item) != wanted->end();
  });
  return chosen;
}

// Do two documents (or the only one) have so many tokens? With fewer there would be no interval.
bool is_long_enough(const TokenFile& file, int64_t tokens) {
  uint64_t found = 0;
  for (uint64_t document = 0; document < file.documents(); ++document) {
    found += file.document_length(document) >= static_cast<uint64_t>(tokens) ? 1 : 0;
  }
  return found >= std::min<uint64_t>(2, file.documents());
}

// Increasing, the trained length among them.
std::vector<int64_t> choose_lengths(const EvalCommand& command, int64_t trained, const TokenFile& file) {
  if (!command.lengths) {
    std::vector<int64_t> lengths = {trained};
    for (const int64_t factor : {2, 4, 8}) {
      if (is_long_enough(file, factor * trained)) {
        lengths.push_back(factor * trained);
      } else {
        spdlog::info("length {} left out: fewer than two documents of {} have as many tokens",
                     factor * trained, file.path().string());
      }
    }
    return lengths;
  }
  std::vector<int64_t> lengths = split_numbers("--lengths", *command.lengths);
  if (std::find(lengths.begin(), lengths.end(), trained) == lengths.end()) {
    spdlog::info("length {} added: the trained length, which all others are compared with", trained);
    lengths.push_back(trained);
  }
  std::sort(lengths.begin(), lengths.end());
  return lengths;
}

int64_t choose_control(const EvalCommand& command, int64_t trained) {
  if (!command.control) return 0;
  if (trained % 2 != 0) {
    throw_user_error(
        "data.seq_len of the run: '{}': expected an even number, half of which is the control's window; "
        "or pass --no-control",
        trained);
  }
  return trained / 2;
}

void choose_targets(const EvalCommand& command, EvalPlan& plan) {
  ProtocolConfig& protocol = plan.protocol;
  const int64_t spread = positive("--pieces", command.pieces);
  const int64_t first = positive("--first-pieces", command.first_pieces);
  protocol.max_targets = positive("--max-targets", command.max_targets);
  if (spread > 0 && first > 0) {
    throw_user_error("--first-pieces: '{}': expected one of --pieces and --first-pieces, not both", first);
  }
  protocol.max_pieces = spread + first;
  protocol.pieces = first > 0 ? PieceChoice::kFirst : PieceChoice::kSpread;
  plan.piece_selection = first > 0    ? fmt::format("the first {} of the file", first)
                         : spread > 0 ? fmt::format("at most {}, spread over the documents", spread)
                                      : "all";
  if (protocol.max_targets > 0) {
    plan.piece_selection =
        fmt::format("as few as hold {} targets (of: {}); the targets thinned to that number",
                    protocol.max_targets, plan.piece_selection);
  }
}

// Methods with a limit and the longest length: sets the rule beyond it in `arms`, returns it in words.
// trained: tokens of the longest training sequence, beyond which positions are as they started.
std::string choose_beyond(const EvalCommand& command, int64_t trained, int64_t longest,
                          std::vector<ArmConfig>& arms) {
  if (!command.beyond.empty()) {
    const std::vector<std::string> known = PositionConfig().beyond_rules();
    if (std::find(known.begin(), known.end(), command.beyond) == known.end()) {
      throw_user_error("--beyond: '{}': expected one of {}", command.beyond, fmt::join(known, ", "));
    }
  }
  std::set<std::string> rules;
  for (ArmConfig& arm : arms) {
    PositionSettings& method = arm.model.position.active();
    method.set_trained_length(trained);
    std::optional<LengthLimit> limit = method.limit();
    if (!limit || limit->positions >= longest) continue;
    if (!command.beyond.empty()) {
      const bool offered = std::any_of(limit->rules.begin(), limit->rules.end(),
                                       [&](const auto& rule) { return rule.first == command.beyond; });
      if (!offered) {
        throw_user_error("--beyond: '{}': arm {} expects {}", command.beyond, arm.name, limit->rule_names());
      }
      method.set_beyond(command.beyond);
    }
    limit = method.limit();
    if (limit->refuses(longest)) {
      throw_user_error(
          "arm {}: its position table has {} rows{}, the longest length is {}: expected --beyond {}",
          arm.name, limit->positions,
          limit->configured > trained ? fmt::format(" that were trained (of {})", limit->configured) : "",
          longest, limit->rule_meanings());
    }
    rules.insert(limit->rule);
  }
  return fmt::format("{}", fmt::join(rules, ", "));
}

TrainConfig choose_device(const EvalCommand& command, TrainConfig train) {
  train.device = choose("--device", command.device, device_choice_names());
  EnumNames<Precision> precisions = {{"auto", train.precision}};  // that of the run
  precisions.insert(precisions.end(), precision_names().begin(), precision_names().end());
  train.precision = choose("--precision", command.precision, precisions);
  if (command.threads < 0 || command.threads > 1024) {
    throw_user_error("--threads: '{}': expected 0 to 1024", command.threads);
  }
  train.threads = command.threads;
  return train;
}

void choose_replicas(const EvalCommand& command, const TrainedRun& run, EvalPlan& plan) {
  std::vector<std::string> names;
  for (const ArmConfig& arm : run.config.arms) names.push_back(arm.name);
  std::optional<std::vector<std::string>> wanted_arms;
  if (command.arms) wanted_arms = split("--arms", *command.arms);
  std::optional<std::vector<int64_t>> wanted_seeds;
  if (command.seeds) wanted_seeds = split_numbers("--seeds", *command.seeds);
  const auto chosen = select("--arms", names, wanted_arms);
  const auto seeds = select("--seeds", run.config.base.train.seeds, wanted_seeds);
  for (const ArmConfig& arm : run.config.arms) {
    if (std::find(chosen.begin(), chosen.end(), arm.name) == chosen.end()) continue;
    for (const int64_t seed : seeds) plan.replicas.push_back({plan.arms.size(), static_cast<uint64_t>(seed)});
    plan.arms.push_back(arm);
  }
  if (plan.arms.size() > 1 && seeds.size() > kMostFlips) {
    throw_user_error("--seeds: {} of them: expected at most {} where arms are compared (or one of --arms)",
                     seeds.size(), kMostFlips);
  }
}

void check_vocabulary(const TrainedRun& run, const TokenFile& file, std::vector<ArmConfig>& arms) {
  for (ArmConfig& arm : arms) {
    if (arm.model.vocab_size == 0) arm.model.vocab_size = file.vocab_size();
    if (arm.model.vocab_size == file.vocab_size()) continue;
    throw_user_error("{}: a vocabulary of {} pieces, expected {} as in {}", file.path().string(),
                     file.vocab_size(), arm.model.vocab_size, run.checkpoint.string());
  }
}

}  // namespace

EvalPlan make_eval_plan(const EvalCommand& command, const TrainedRun& run, const TokenFile& file) {
  EvalPlan plan;
  const RunSettings& base = run.config.base;
  choose_replicas(command, run, plan);
  check_vocabulary(run, file, plan.arms);
  plan.protocol.lengths = choose_lengths(command, run.trained_length(), file);
  plan.protocol.control_window = choose_control(command, run.trained_length());
  plan.protocol.masking = base.validation_mask();
  if (command.mask_rate && !(*command.mask_rate > 0 && *command.mask_rate <= 1)) {
    throw_user_error("--mask-rate: '{}': expected a number above 0 and of at most 1", *command.mask_rate);
  }
  plan.protocol.masking.probability = command.mask_rate.value_or(plan.protocol.masking.probability);
  if (command.mask_seed && *command.mask_seed < 0) {
    throw_user_error("--mask-seed: '{}': expected at least 0", *command.mask_seed);
  }
  plan.protocol.seed = static_cast<uint64_t>(command.mask_seed.value_or(base.validation.seed));
  choose_targets(command, plan);
  plan.beyond = choose_beyond(command, run.trained_length(), plan.protocol.lengths.back(), plan.arms);
  positive("--batch-tokens", command.batch_tokens);
  plan.train = choose_device(command, base.train);
  return plan;
}

}  // namespace rse
