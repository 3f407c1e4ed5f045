// Tests parameter groups and AdamW: its formula, skipped updates, and clipping.
#include "train/optimizer.h"

#include <cmath>
#include <limits>

#include "tests/support.h"

namespace rse {
namespace {

// A module with one parameter for each part that is named.
struct ToyModule : torch::nn::Module {
  explicit ToyModule(const std::vector<std::string>& parts) {
    for (const std::string& part : parts) {
      if (part == "position") {
        auto position = std::make_shared<torch::nn::Module>();
        position->register_parameter("raw_decay", torch::full({2}, 0.5f));
        register_module("position", position);
      } else {
        register_parameter(part, part == "bias" ? torch::full({3}, 2.0f) : torch::full({2, 3}, 1.0f));
      }
    }
  }
};

std::vector<std::string> names_of(const OptimizerGroup& group) { return group.names; }

TEST(OptimizerGroups, SplitByRole) {
  const ToyModule module({"weight", "bias", "position"});
  const auto groups = make_optimizer_groups(module, /*expect_decay=*/true);
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_THAT(names_of(groups[0]), testing::ElementsAre("weight"));
  EXPECT_THAT(names_of(groups[1]), testing::ElementsAre("bias"));
  EXPECT_THAT(names_of(groups[2]), testing::ElementsAre("position.raw_decay"));
  EXPECT_TRUE(groups[0].decayed());
  EXPECT_FALSE(groups[1].decayed());
  EXPECT_FALSE(groups[2].decayed());
}

TEST(OptimizerGroups, AnEmptyOrUnexpectedGroupIsAnError) {
  EXPECT_THAT(
      [] {
        make_optimizer_groups(ToyModule({"weight", "bias"}), true);
      },
      ThrowsUserError("group 'decay'"));
  EXPECT_THAT(
      [] {
        make_optimizer_groups(ToyModule({"weight", "position"}), true);
      },
      ThrowsUserError("group 'biases and norms'"));
  EXPECT_THAT(
      [] {
        make_optimizer_groups(ToyModule({"bias", "position"}), true);
      },
      ThrowsUserError("group 'matrices'"));
  EXPECT_THAT(
      [] {
        make_optimizer_groups(ToyModule({"weight", "bias", "position"}), false);
      },
      ThrowsUserError("has no decay"));
}

struct Fixture {
  ToyModule module{{"weight", "bias", "position"}};
  AdamW optimizer;
  explicit Fixture(const AdamWOptions& options) : optimizer(make_optimizer_groups(module, true), options) {}
  torch::Tensor at(const std::string& name) { return module.named_parameters()[name]; }
  void set_gradients(float value) {
    for (auto& parameter : module.parameters()) parameter.mutable_grad() = torch::full_like(parameter, value);
  }
};

TEST(AdamW, FollowsItsDefinitionWithTheRatesOfEachGroup) {
  const AdamWOptions options{0.9, 0.98, 1e-8, 0.1, 0.0};
  Fixture fixture(options);
  std::map<std::string, double> value = {{"weight", 1.0}, {"bias", 2.0}, {"position.raw_decay", 0.5}};
  std::map<std::string, double> m, v;
  for (int step = 1; step <= 3; ++step) {
    const double gradient = 0.5 * step;
    fixture.set_gradients(static_cast<float>(gradient));
    fixture.optimizer.step({0.01, 0.2}, torch::tensor(1.0f));
    for (auto& [name, x] : value) {
      const double rate = name == "position.raw_decay" ? 0.2 : 0.01;
      m[name] = 0.9 * m[name] + 0.1 * gradient;
      v[name] = 0.98 * v[name] + 0.02 * gradient * gradient;
      const double m_hat = m[name] / (1 - std::pow(0.9, step)), v_hat = v[name] / (1 - std::pow(0.98, step));
      x -= rate * (name == "weight" ? 0.1 : 0.0) * x + rate * m_hat / (std::sqrt(v_hat) + 1e-8);
      EXPECT_NEAR(fixture.at(name).flatten()[0].item<double>(), x, 1e-6) << name << ", step " << step;
    }
  }
  EXPECT_FALSE(fixture.at("weight").grad().defined());
}

TEST(AdamW, ClipsTheNormOfAllGradientsTogether) {
  Fixture clipped({0.0, 0.0, 1e-3, 0.0, 1.0}), free({0.0, 0.0, 1e-3, 0.0, 0.0});
  clipped.set_gradients(2.0f);  // the gradients have 11 elements
  const double norm = 2.0 * std::sqrt(11.0);
  free.set_gradients(static_cast<float>(2.0 / (norm + 1e-6)));
  const AdamW::StepResult result = clipped.optimizer.step({0.01, 0.01}, torch::tensor(1.0f));
  free.optimizer.step({0.01, 0.01}, torch::tensor(1.0f));
  EXPECT_NEAR(result.grad_norm.item<double>(), norm, 1e-5);
  EXPECT_NEAR(clipped.at("bias")[0].item<double>(), free.at("bias")[0].item<double>(), 1e-7);
}

TEST(AdamW, NonFiniteLossOrGradientChangesNothingButClearsGradients) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const bool in_loss : {true, false}) {
    Fixture fixture({0.9, 0.98, 1e-8, 0.1, 1.0});
    fixture.set_gradients(1.0f);
    EXPECT_EQ(fixture.optimizer.step({0.01, 0.01}, torch::tensor(1.0f)).skipped.item<float>(), 0.0f);
    NamedTensors before;
    for (const auto& [name, tensor] : fixture.optimizer.state()) before.emplace_back(name, tensor.clone());
    const torch::Tensor weight = fixture.at("weight").detach().clone();
    fixture.set_gradients(1.0f);
    if (!in_loss) fixture.at("bias").mutable_grad()[1] = std::nanf("");
    const auto result = fixture.optimizer.step({0.01, 0.01}, torch::tensor(in_loss ? inf : 1.0f));
    EXPECT_EQ(result.skipped.item<float>(), 1.0f);
    const NamedTensors after = fixture.optimizer.state();
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_TRUE(torch::equal(before[i].second, after[i].second)) << before[i].first;
    }
    EXPECT_TRUE(torch::equal(weight, fixture.at("weight")));
    EXPECT_FALSE(fixture.at("weight").grad().defined());
  }
}

}  // namespace
}  // namespace rse
