#include "eval/length_protocol.h"

#include <algorithm>
#include <map>

#include "core/check.h"
#include "core/logging.h"

namespace rse {
namespace {

void check_lengths(const std::vector<int64_t>& lengths) {
  if (lengths.empty()) throw_user_error("lengths: expected at least one");
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] < 1) throw_user_error("lengths: '{}': expected at least 1", lengths[i]);
    if (i > 0 && lengths[i] <= lengths[i - 1]) {
      throw_user_error("lengths: '{}' after '{}': expected increasing lengths", lengths[i], lengths[i - 1]);
    }
  }
  for (const int64_t length : lengths) {
    if (lengths.back() % length != 0) {
      throw_user_error(
          "lengths: '{}': expected a divisor of the longest ({}), so that each target is predicted at each "
          "length",
          length, lengths.back());
    }
  }
}

const ProtocolConfig& checked(const ProtocolConfig& config) {
  check_lengths(config.lengths);
  RSE_ASSERT(config.control_window >= 0 && config.max_targets >= 0, "control window {}, at most {} targets",
             config.control_window, config.max_targets);
  return config;
}

EvaluationSettings masked(const ProtocolConfig& config, int64_t window) {
  EvaluationSettings settings;
  settings.masking = config.masking;
  settings.seed = config.seed;
  settings.window = window;
  return settings;
}

// Counts targets of pieces, each piece once.
class TargetCounter {
 public:
  explicit TargetCounter(const ProtocolConfig& config) : settings_(masked(config, config.lengths.back())) {}

  int64_t count(const EvaluationSet& set) {
    int64_t targets = 0;
    for (int64_t i = 0; i < set.size(); ++i) {
      const auto [place, fresh] = known_.try_emplace(set.pieces()[static_cast<size_t>(i)].begin, 0);
      TargetPlaces ignored;
      if (fresh) place->second = target_batch(set, settings_, i, 1, ignored).targets();
      targets += place->second;
    }
    return targets;
  }

 private:
  EvaluationSettings settings_;
  std::map<uint64_t, int64_t> known_;  // by the piece's first token
};

// The pieces asked for; with max_targets about the fewest of them that hold as many targets (spread sets of
// different sizes share no pieces, so "holds enough" is not quite monotone: bisection finds one border).
EvaluationSet choose_pieces(const TokenFile& file, const ProtocolConfig& config) {
  const int64_t longest = config.lengths.back();
  EvaluationSet all(file, longest, config.max_pieces, config.pieces);
  if (config.max_targets == 0) return all;
  TargetCounter counter(config);
  const auto fewer = [&](int64_t pieces) { return EvaluationSet(file, longest, pieces, config.pieces); };
  const auto enough = [&](int64_t pieces) { return counter.count(fewer(pieces)) >= config.max_targets; };
  int64_t below = (config.max_targets - 1) / longest;  // a piece holds at most `longest` targets
  int64_t above = below + 1;
  while (above < all.size() && !enough(above)) {
    below = above;
    above = above + above / 4 + 1;
  }
  above = std::min(above, all.size());
  while (above - below > 1) {
    const int64_t middle = below + (above - below) / 2;
    (enough(middle) ? above : below) = middle;
  }
  return above == all.size() ? all : fewer(above);
}

TargetPlaces all_places(const EvaluationSet& set, const EvaluationSettings& settings) {
  TargetPlaces places;
  for (int64_t piece = 0; piece < set.size(); ++piece) target_batch(set, settings, piece, 1, places);
  return places;
}

// The draw of the last target that stays, where more than max_targets are there.
std::optional<ThinningDraw> choose_thinning(const EvaluationSet& set, const ProtocolConfig& config) {
  if (config.max_targets == 0) return std::nullopt;
  const EvaluationSettings settings = masked(config, set.piece_tokens());
  std::vector<ThinningDraw> draws;
  for (int64_t i = 0; i < set.size(); ++i) {
    TargetPlaces places;
    target_batch(set, settings, i, 1, places);
    const Piece& piece = set.pieces()[static_cast<size_t>(i)];
    for (const int64_t offset : places.offsets) {
      draws.push_back(
          thinning_draw(config.seed, piece.document, piece.offset + static_cast<uint64_t>(offset)));
    }
  }
  const auto wanted = static_cast<size_t>(config.max_targets);
  if (draws.size() <= wanted) return std::nullopt;
  std::nth_element(draws.begin(), draws.begin() + static_cast<std::ptrdiff_t>(wanted - 1), draws.end());
  return draws[wanted - 1];
}

}  // namespace

LengthProtocol::LengthProtocol(const TokenFile& file, const ProtocolConfig& config)
    : config_(checked(config)), set_(choose_pieces(file, config)), last_kept_(choose_thinning(set_, config)) {
  for (const int64_t length : config.lengths) settings_.emplace_back(length, 0);
  if (config.control_window > 0) {
    for (const int64_t length : config.lengths) settings_.emplace_back(length, config.control_window);
  }
  places_ = all_places(set_, evaluation({set_.piece_tokens(), 0}, {}));
  if (places_.size() == 0) {
    throw_user_error(
        "{}: no target in {} pieces of {} tokens: expected more text or a higher masking probability",
        file.path().string(), set_.size(), set_.piece_tokens());
  }
}

int64_t LengthProtocol::tokens() const {
  return set_.size() * set_.piece_tokens() * static_cast<int64_t>(settings_.size());
}

EvaluationSettings LengthProtocol::evaluation(const std::pair<int64_t, int64_t>& setting,
                                              const ForwardSettings& forward) const {
  EvaluationSettings settings = masked(config_, setting.first);
  settings.last_kept = last_kept_;
  settings.attention_window = setting.second;
  settings.batch_tokens = forward.batch_tokens;
  settings.device = forward.device;
  settings.bf16 = forward.bf16;
  return settings;
}

std::vector<LengthLosses> LengthProtocol::measure(const Evaluator& model, const ForwardSettings& forward,
                                                  const std::function<void(int64_t)>& progress) const {
  std::vector<LengthLosses> all;
  int64_t done = 0;
  for (const auto& setting : settings_) {
    const auto report = [&](int64_t tokens) {
      if (progress) progress(done + tokens);
    };
    const double start = now_seconds();
    TargetNll losses = target_nll(model, set_, evaluation(setting, forward), report);
    RSE_ASSERT(losses.places.documents == places_.documents && losses.places.offsets == places_.offsets,
               "targets at length {} differ", setting.first);
    all.push_back({setting.first, setting.second, std::move(losses.nll), now_seconds() - start});
    done += set_.size() * set_.piece_tokens();
  }
  return all;
}

}  // namespace rse
