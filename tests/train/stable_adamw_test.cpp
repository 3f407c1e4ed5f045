// Tests StableAdamW against its definition (src/train/update_clipping.h), written out in float64, and that it is AdamW
// in all else.
#include <cmath>
#include <limits>

#include "tests/support.h"
#include "tests/train/resumed_run.h"
#include "train/optimizer.h"
#include "train/update_clipping.h"

namespace rse {
namespace {

// Three groups; the matrices are two tensors of different shapes.
struct ToyModule : torch::nn::Module {
  ToyModule() {
    torch::manual_seed(3);
    register_parameter("wide", torch::randn({4, 6}));
    register_parameter("tall", torch::randn({9, 2}));
    register_parameter("bias", torch::randn({5}));
    auto position = std::make_shared<torch::nn::Module>();
    position->register_parameter("raw_decay", torch::randn({3}));
    register_module("position", position);
  }
};

using Tensors = std::map<std::string, torch::Tensor>;

// Gradients of update t (from 1). Those of "tall" grow tenfold in update 3, those of "bias" shrink all the time, and
// one element of "wide" never has any.
Tensors gradients_of(int t) {
  torch::manual_seed(100 + static_cast<uint64_t>(t));
  Tensors g = {{"wide", torch::randn({4, 6})},
               {"tall", torch::randn({9, 2}) * (t >= 3 ? 10.0 : 1.0)},
               {"bias", torch::randn({5}) / (t * t)},
               {"position.raw_decay", torch::randn({3})}};
  g["wide"][1][2] = 0.0;
  return g;
}

// The reference: update t of one tensor x, whose moments are m and v. Returns RMS_t.
double reference(torch::Tensor& x, torch::Tensor& m, torch::Tensor& v, const torch::Tensor& g, int t,
                 double rate, double weight_decay, const AdamWOptions& o) {
  m = o.beta1 * m + (1 - o.beta1) * g;
  v = o.beta2 * v + (1 - o.beta2) * g * g;
  const torch::Tensor m_hat = m / (1 - std::pow(o.beta1, t)), v_hat = v / (1 - std::pow(o.beta2, t));
  const double rms = (g * g / v_hat.clamp_min(o.eps * o.eps)).mean().sqrt().item<double>();
  const double clipped = rate / std::max(1.0, rms);
  x = x - clipped * (m_hat / (v_hat.sqrt() + o.eps) + weight_decay * x);
  return rms;
}

struct Fixture {
  ToyModule module;
  AdamW optimizer;
  explicit Fixture(const AdamWOptions& options) : optimizer(make_optimizer_groups(module, true), options) {}
  AdamW::StepResult step(const Tensors& gradients, float loss = 1.0f) {
    for (auto& item : module.named_parameters()) {
      item.value().mutable_grad() = gradients.at(item.key()).clone();
    }
    return optimizer.step({0.01, 0.2}, torch::tensor(loss));
  }
  Tensors values() {
    Tensors values;
    for (auto& item : module.named_parameters()) values[item.key()] = item.value().detach().clone();
    return values;
  }
};

// clip_norm 2 clips all of these updates, whose norms are 5 and more.
void expect_reference(double clip_norm, double eps) {
  const AdamWOptions options{0.9, 0.98, eps, 0.1, clip_norm, OptimizerKind::kStableAdamW};
  Fixture fixture(options);
  Tensors x, m, v;
  for (const auto& [name, value] : fixture.values()) {
    x[name] = value.to(torch::kFloat64);
    m[name] = v[name] = torch::zeros_like(x[name]);
  }
  std::map<std::string, std::vector<double>> rms;
  for (int t = 1; t <= 6; ++t) {
    const Tensors g = gradients_of(t);
    double squares = 0;
    for (const auto& [name, gradient] : g) squares += gradient.square().sum().item<double>();
    const double scale = clip_norm > 0 ? std::min(1.0, clip_norm / (std::sqrt(squares) + 1e-6)) : 1.0;
    fixture.step(g);
    const Tensors found = fixture.values();
    for (auto& [name, value] : x) {
      const double rate = name == "position.raw_decay" ? 0.2 : 0.01;
      const double decay = name == "wide" || name == "tall" ? 0.1 : 0.0;
      rms[name].push_back(reference(value, m[name], v[name], scale * g.at(name).to(torch::kFloat64), t, rate,
                                    decay, options));
      EXPECT_LT((found.at(name) - value).abs().max().item<double>(), 2e-6) << name << ", update " << t;
    }
  }
  for (const auto& [name, each] : rms)
    EXPECT_LE(each[0], 1.0 + 1e-12) << name;  // g^2 / g^2, and 0 without one
  EXPECT_GT(rms["tall"][2], 1.1) << "the test needs an update that is clipped";
  EXPECT_LT(rms["bias"][3], 1.0) << "and one that is not";
}

TEST(StableAdamW, IsItsReference) { expect_reference(0.0, 1e-6); }

TEST(StableAdamW, ClipsUpdatesOfGradientsThatAreClippedByTheirNormFirst) { expect_reference(2.0, 1e-6); }

// max(v, eps^2) holds for most elements here, whose gradients are about as large as eps.
TEST(StableAdamW, BoundsTheSecondMomentsByTheSquareOfEps) { expect_reference(0.0, 1.0); }

TEST(StableAdamW, IsAdamWInTheFirstUpdateAndInItsState) {
  Fixture stable({0.9, 0.98, 1e-8, 0.1, 1.0, OptimizerKind::kStableAdamW}),
      plain({0.9, 0.98, 1e-8, 0.1, 1.0});
  for (int t = 1; t <= 3; ++t) {
    stable.step(gradients_of(t));
    plain.step(gradients_of(t));
    if (t == 1) {
      for (const auto& [name, value] : plain.values()) {
        EXPECT_LT((stable.values()[name] - value).abs().max().item<double>(), 1e-7) << name;
      }
    }
  }
  const NamedTensors a = stable.optimizer.state(), b = plain.optimizer.state();
  EXPECT_TRUE(bit_equal(a, b));  // the moments do not know of the rates
  EXPECT_GT((stable.values()["tall"] - plain.values()["tall"]).abs().max().item<double>(), 1e-4);
}

TEST(StableAdamW, AnUpdateThatIsNotFiniteChangesNothing) {
  Fixture fixture({0.9, 0.98, 1e-8, 0.1, 1.0, OptimizerKind::kStableAdamW});
  for (const int applied : {0, 1, 2}) {  // in the first update, the correction of the moments divides by 0
    const Tensors before = fixture.values();
    NamedTensors state;
    for (const auto& [name, tensor] : fixture.optimizer.state()) state.emplace_back(name, tensor.clone());
    Tensors bad = gradients_of(7);
    bad["tall"][2][1] = std::nanf("");
    EXPECT_EQ(fixture.step(bad).skipped.item<float>(), 1.0f);
    EXPECT_EQ(fixture.step(gradients_of(7), std::numeric_limits<float>::infinity()).skipped.item<float>(),
              1.0f);
    EXPECT_TRUE(bit_equal(state, fixture.optimizer.state())) << applied;
    for (const auto& [name, value] : before) EXPECT_TRUE(torch::equal(value, fixture.values()[name])) << name;
    EXPECT_EQ(fixture.step(gradients_of(applied + 1)).skipped.item<float>(), 0.0f);
    EXPECT_FALSE(torch::equal(before.at("wide"), fixture.values()["wide"]));
  }
}

// Even an eps whose square float32 cannot hold keeps elements without a gradient from dividing 0 by 0.
TEST(StableAdamW, RatesAreFiniteWithATinyEps) {
  const std::vector<torch::Tensor> zero = {torch::zeros({4}), torch::ones({2})};
  const auto rates =
      clipped_rates(zero, {torch::zeros({4}), torch::zeros({2})}, torch::tensor(1.0f), 0.5, 0.98, 1e-30);
  ASSERT_EQ(rates.size(), 2u);
  EXPECT_EQ(rates[0].item<float>(), 0.5f);
  EXPECT_NEAR(rates[1].item<float>(), 0.5f, 1e-6);
}

// The recipe as a whole, in a run that dies and goes on.
class Recipe : public ResumedRun {
 protected:
  std::vector<std::string> settings() const {
    return {"model.biases=false",   "model.activation=geglu",    "model.embedding_norm=true",
            "model.head=transform", "data.mask.probability=0.3", "validation.mask_rate=0.15",
            "train.schedule=wsd",   "train.decay_steps=4",       "train.optimizer=stable_adamw",
            "train.clip_norm=0",    "train.batch_ramp.start=2",  "train.batch_ramp.steps=7",
            "train.accumulation=3", "validation.every=4"};
  }
};

TEST_F(Recipe, GoesOnAfterACrashAsIfNothingHadHappened) { expect_equal_after_crash(settings(), 8); }

TEST_F(Recipe, IsAnotherRunWithoutEachOfItsPieces) {
  const RunConfig config = config_of(settings());
  train(config, "run");
  for (const char* other : {"model.biases=true", "validation.mask_rate=0", "train.decay_steps=2",
                            "train.optimizer=adamw", "train.batch_ramp.steps=6"}) {
    std::vector<std::string> changed = settings();
    changed.emplace_back(other);
    train(config_of(changed), other);
    EXPECT_NE(run_content(toy_.path("run")), run_content(toy_.path(other))) << other;
  }
}

}  // namespace
}  // namespace rse
