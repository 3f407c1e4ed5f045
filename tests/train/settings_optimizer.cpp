// Checks the keys that the weights show: two updates of AdamW are worked out in float64 from the gradients of each
// step, with settings that are written out here and not read from the configuration.
#include "tests/train/settings_checks.h"

namespace rse {
namespace {

// AdamW as it is defined (src/train/optimizer.h), for two updates.
struct ByHand {
  double rates[2] = {0.0015, 0.003};  // of matrices, biases and norms: 0.003 after 1/2 and 2/2 of the warm-up
  double decay_rates[2] = {0.01, 0.02};  // of the raw decays: 0.02 likewise
  double weight_decay = 0.01;            // of matrices
  double beta1 = 0.9, beta2 = 0.98;
  double eps = 1e-3;
  double clip_norm = 1.0;  // 0: none
  bool stable = false;     // StableAdamW (src/train/update_clipping.h)
};

// Large enough that elements whose gradient is rounding alone do not move by a whole rate.
const std::vector<std::string> kBase = {"model.position.method=rse", "train.eps=1e-3", "train.steps=2"};

// Moves `weights` by update `step` (from 0) with gradients `g`.
void update_by_hand(const ByHand& hand, int step, const Weights& g, Weights& weights, Weights& m,
                    Weights& v) {
  double squares = 0;
  for (const auto& [name, gradient] : g) squares += gradient.square().sum().item<double>();
  const double norm = std::sqrt(squares);
  const double scale = hand.clip_norm > 0 ? std::min(1.0, hand.clip_norm / (norm + 1e-6)) : 1.0;
  for (auto& [name, x] : weights) {
    const bool decay = name.ends_with("raw_decay");
    double rate = decay ? hand.decay_rates[step] : hand.rates[step];
    const torch::Tensor gradient = scale * g.at(name);
    if (step == 0) m[name] = v[name] = torch::zeros_like(gradient);
    m[name] = hand.beta1 * m[name] + (1 - hand.beta1) * gradient;
    v[name] = hand.beta2 * v[name] + (1 - hand.beta2) * gradient.square();
    const torch::Tensor m_hat = m[name] / (1 - std::pow(hand.beta1, step + 1));
    const torch::Tensor v_hat = v[name] / (1 - std::pow(hand.beta2, step + 1));
    if (hand.stable) {
      const torch::Tensor bounded = v_hat.clamp_min(hand.eps * hand.eps);
      rate /= std::max(1.0, (gradient.square() / bounded).mean().sqrt().item<double>());
    }
    if (!decay && x.dim() >= 2) x = x - rate * hand.weight_decay * x;
    x = x - rate * m_hat / (v_hat.sqrt() + hand.eps);
  }
}

// The weights after two updates by hand, of the first arm and seed of `config`, in float64.
Weights after_two_updates(const ToyRun& toy, const RunConfig& config, const ByHand& hand) {
  Replica replica(config.arms[0], 1, config.base.train, torch::kCPU);
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  Weights weights = copy_of(replica), m, v;
  for (auto& [name, tensor] : weights) tensor = tensor.to(torch::kFloat64);
  for (int step = 0; step < 2; ++step) {
    const StepBatch batch =
        make_step_batch(toy.train_file(), sequences, {{1}, 4, 1, MaskingConfig{}}, 1, step);
    update_by_hand(hand, step, gradients_at(replica, weights, batch), weights, m, v);
  }
  return weights;
}

double largest_misfit(const Weights& expected, const Weights& found) {
  double misfit = 0;
  for (const auto& [name, tensor] : expected)
    misfit = std::max(misfit, largest_change(tensor, found.at(name)));
  return misfit;
}

// Expects that the run with `settings` beside kBase does what `hand` says, and not what it says for
// `without`, the same settings but for the key under test.
void expect_updates(const std::vector<std::string>& settings, const ByHand& hand,
                    const ByHand& without = {}) {
  const ToyRun toy;
  std::vector<std::string> all = kBase;
  all.insert(all.end(), settings.begin(), settings.end());
  const RunConfig config = toy.config("", all);
  const Weights found = observe(toy, config, "run").at(2)[0];
  const Weights lost = after_two_updates(toy, config, without);
  EXPECT_LT(largest_misfit(after_two_updates(toy, config, hand), found), 2e-6);
  EXPECT_GT(largest_misfit(lost, found), 5e-5) << "the check would not notice that the key is lost";
}

ByHand with_rates(double first, double second) {
  ByHand hand;
  for (int step = 0; step < 2; ++step) {
    const double factor = step == 0 ? first : second;
    hand.rates[step] = 0.003 * factor;
    hand.decay_rates[step] = 0.02 * factor;
  }
  return hand;
}

// A third of the updates' norms is above this bound, so both updates are clipped.
void check_clip_norm() {
  ByHand hand;
  hand.clip_norm = 0.05;
  expect_updates({"train.clip_norm=0.05"}, hand);
  const ToyRun toy;
  for (const nlohmann::json& line : lines_of_run(toy, {"train.clip_norm=0.05"}, "update")) {
    EXPECT_GT(line["grad_norm"].get<double>(), 0.05) << "the norm is that before clipping";
  }
  hand.clip_norm = 0;
  ByHand clipped;
  clipped.clip_norm = 0.05;
  expect_updates({"train.clip_norm=0"}, hand, clipped);
}

void check_schedule(SettingChecks& checks) {
  // The first two of three updates without warm-up. Linear: 1 and 1 - 1/3; cosine: 1 and (1 + cos(60 degrees)) / 2.
  checks["train.schedule"] = [] {
    expect_updates({"train.steps=3", "train.warmup_steps=0", "train.schedule=cosine"}, with_rates(1, 0.75),
                   with_rates(1, 2.0 / 3));
    expect_updates({"train.steps=3", "train.warmup_steps=0", "train.schedule=linear"}, with_rates(1, 2.0 / 3),
                   with_rates(1, 0.75));
  };
  checks["train.warmup_steps"] = [] { expect_updates({"train.warmup_steps=4"}, with_rates(0.25, 0.5)); };
  // Two updates without warm-up: 1, and 0.5 + (1 - 0.5) (1 - 1/2).
  checks["train.min_lr"] = [] {
    expect_updates({"train.warmup_steps=0", "train.min_lr=0.5"}, with_rates(1, 0.75), with_rates(1, 0.5));
  };
  // Three updates, which all decay: 1 and, at t = 1/3, 2/3 (linear), (1 + cos(60 degrees)) / 2 (cosine) and
  // 1 - sqrt(1/3).
  checks["train.decay_shape"] = [] {
    const std::vector<std::string> settings = {"train.warmup_steps=0", "train.steps=3", "train.schedule=wsd",
                                               "train.decay_steps=3"};
    const auto shaped = [&](const char* shape) {
      std::vector<std::string> all = settings;
      all.push_back(std::string("train.decay_shape=") + shape);
      return all;
    };
    const double root = 1 - std::sqrt(1.0 / 3);
    expect_updates(shaped("linear"), with_rates(1, 2.0 / 3), with_rates(1, root));
    expect_updates(shaped("cosine"), with_rates(1, 0.75), with_rates(1, 2.0 / 3));
    expect_updates(shaped("sqrt"), with_rates(1, root), with_rates(1, 0.75));
  };
  // The decay of one update begins, with the whole rate, in the last one; that of two in the first.
  checks["train.decay_steps"] = [] {
    const std::vector<std::string> wsd = {"train.warmup_steps=0", "train.schedule=wsd"};
    expect_updates({wsd[0], wsd[1], "train.decay_steps=2"}, with_rates(1, 1 - std::sqrt(0.5)),
                   with_rates(1, 1));
    expect_updates({wsd[0], wsd[1], "train.decay_steps=1"}, with_rates(1, 1),
                   with_rates(1, 1 - std::sqrt(0.5)));
  };
}

}  // namespace

SettingChecks optimizer_checks() {
  SettingChecks checks;
  checks["train.learning_rate"] = [] {
    ByHand hand;
    hand.rates[0] = 0.004;
    hand.rates[1] = 0.008;
    expect_updates({"train.learning_rate=0.008"}, hand);
  };
  checks["train.decay_learning_rate"] = [] {
    ByHand hand;
    hand.decay_rates[0] = 0.025;
    hand.decay_rates[1] = 0.05;
    expect_updates({"train.decay_learning_rate=0.05"}, hand);
  };
  checks["train.weight_decay"] = [] {
    ByHand hand;
    hand.weight_decay = 2.0;
    expect_updates({"train.weight_decay=2"}, hand);
  };
  checks["train.betas"] = [] {
    ByHand hand;
    hand.beta1 = 0.5;
    hand.beta2 = 0.7;
    ByHand first = hand, second = hand;
    first.beta1 = 0.9;
    second.beta2 = 0.98;
    expect_updates({"train.betas=[0.5, 0.7]"}, hand, first);
    expect_updates({"train.betas=[0.5, 0.7]"}, hand, second);
  };
  checks["train.eps"] = [] {
    ByHand hand;
    hand.eps = 0.01;
    expect_updates({"train.eps=0.01"}, hand);
  };
  check_schedule(checks);
  checks["train.optimizer"] = [] {
    ByHand hand;
    hand.rates[0] = 0.015;
    hand.rates[1] = 0.03;
    ByHand stable = hand;
    stable.stable = true;
    expect_updates({"train.learning_rate=0.03", "train.optimizer=stable_adamw"}, stable, hand);
    expect_updates({"train.learning_rate=0.03", "train.optimizer=adamw"}, hand, stable);
  };
  checks["train.clip_norm"] = check_clip_norm;
  return checks;
}

}  // namespace rse
