// Tests that every parameter group of every arm moves by the learning rate that was worked out by hand, in every
// step, after a resume, too, and that the metrics say the same rates.
//
// With both betas 0 and a small eps, AdamW's update is rate * g / (|g| + eps): each element moves by its rate,
// whatever its gradient, so the movement shows the rate that the optimizer used.
#include "nn/encoder.h"
#include "tests/train/observed_run.h"
#include "train/dry_run.h"
#include "train/resume.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

// Warm-up 4 of 10 steps, down to 0.1 of the peak: (step + 1) / 4, then 0.1 + 0.9 (1 - t), t = (step - 4) / 6.
const std::vector<double> kLinear = {0.25, 0.5, 0.75, 1.0, 1.0, 0.85, 0.7, 0.55, 0.4, 0.25};

// The peak rates of the arms below; each has another one.
struct ArmRates {
  const char* arm;
  double base, decay;
};
const std::vector<ArmRates> kRates = {{"plain", 0.004, 0.02}, {"own", 0.001, 0.05}, {"rope", 0.002, 0.0}};
const char* const kArms =
    "arms:\n"
    "  plain: {model: {position: {method: rse}}}\n"
    "  own: {model: {position: {method: rse}}, train: {learning_rate: 0.001, decay_learning_rate: 0.05}}\n"
    "  rope: {model: {position: {method: rope}}, train: {learning_rate: 0.002}}\n";

class Rates : public testing::Test {
 protected:
  RunConfig config(const std::vector<std::string>& more = {}, const char* arms = kArms) const {
    std::vector<std::string> settings = {
        "train.betas=[0, 0]", "train.eps=1e-12",           "train.weight_decay=0",
        "train.clip_norm=0",  "train.learning_rate=0.004", "train.decay_learning_rate=0.02",
        "train.steps=10",     "train.warmup_steps=4",      "train.min_lr=0.1"};
    settings.insert(settings.end(), more.begin(), more.end());
    return toy_.config(arms, settings);
  }

  // Expects that in update k of the course every parameter moved by factors[k] times its group's peak rate.
  static void expect_moves(const Course& course, const std::vector<double>& factors) {
    ASSERT_EQ(course.size(), factors.size() + 1);
    for (size_t k = 0; k < factors.size(); ++k) {
      for (size_t i = 0; i < course[k].size(); ++i) {
        const ArmRates& rates = kRates[i % kRates.size()];
        for (const auto& [name, before] : course[k][i]) {
          const double rate = factors[k] * (name.ends_with("raw_decay") ? rates.decay : rates.base);
          // The spacing of float32 next to the weight is at most 5e-7 (raw decays of about -5).
          EXPECT_NEAR(largest_change(before, course[k + 1][i].at(name)), rate, 1e-3 * rate + 6e-7)
              << rates.arm << ", update " << k << ", " << name;
        }
      }
    }
  }

  // Expects that metrics.jsonl says these factors of the rates for the updates from `first` on (from 0).
  static void expect_recorded(const fs::path& run, const std::vector<double>& factors, int64_t first = 0) {
    size_t lines = 0;
    for (const nlohmann::json& line : metric_lines(run, "update")) {
      const int64_t step = line["step"].get<int64_t>() - 1;
      if (step < first) continue;
      ++lines;
      const double factor = factors.at(static_cast<size_t>(step - first));
      for (const ArmRates& rates : kRates) {
        if (line["arm"] != rates.arm) continue;
        EXPECT_NEAR(line["learning_rate"].get<double>(), factor * rates.base, 1e-12) << line;
        ASSERT_EQ(line.contains("decay_learning_rate"), rates.decay > 0) << line;
        if (rates.decay == 0) continue;
        EXPECT_NEAR(line["decay_learning_rate"].get<double>(), factor * rates.decay, 1e-12) << line;
      }
    }
    EXPECT_EQ(lines, factors.size() * kRates.size());
  }

  // Goes on with the run in `folder`, and returns the course from there.
  Course resume(const RunConfig& config, const fs::path& folder) const {
    const ResumePlan plan =
        plan_resume(find_run(folder), false, config, toy_.train_file(), toy_.valid_file());
    Trainer trainer(config, toy_.train_file(), toy_.valid_file(), torch::kCPU);
    trainer.restore(plan.checkpoint.value(), plan.state);
    take_over(plan, config);
    return observe(trainer, folder);
  }

  // Makes a run that was stopped, and saved, after `step` updates.
  Course stopped_run(const RunConfig& config, int64_t step, const std::string& name) const {
    fs::create_directories(toy_.path(name));
    write_file_atomically(toy_.path(name) / "config.yaml", config.dump());
    Trainer trainer(config, toy_.train_file(), toy_.valid_file(), torch::kCPU);
    return observe(trainer, toy_.path(name), step);
  }

  ToyRun toy_;
};

TEST_F(Rates, OfEveryStepArmAndGroupAreThoseOfTheLinearSchedule) {
  expect_moves(observe(toy_, config(), "run"), kLinear);
  expect_recorded(toy_.path("run"), kLinear);
}

// Without warm-up, six steps, down to 0.2: 0.2 + 0.8 (1 + cos(k 30 degrees)) / 2, and cos(30) = sqrt(3) / 2.
TEST_F(Rates, OfEveryStepArmAndGroupAreThoseOfTheCosine) {
  const std::vector<double> cosine = {1.0, 0.9464101615, 0.8, 0.6, 0.4, 0.2535898385};
  const RunConfig run =
      config({"train.schedule=cosine", "train.steps=6", "train.warmup_steps=0", "train.min_lr=0.2"});
  expect_moves(observe(toy_, run, "run"), cosine);
  Trainer trainer(run, toy_.train_file(), toy_.valid_file(), torch::kCPU);
  for (size_t k = 0; k < cosine.size(); ++k) {
    EXPECT_NEAR(trainer.replicas()[1]->rates(static_cast<int64_t>(k)).decay, 0.05 * cosine[k], 1e-10);
  }
}

TEST_F(Rates, OfEverySeedAreTheSame) {
  const Course course = observe(toy_, config({"train.seeds=[4, 9]"}), "run");
  ASSERT_EQ(course[0].size(), 2 * kRates.size());
  expect_moves(course, kLinear);
}

TEST_F(Rates, GoOnAfterAResume) {
  expect_moves(stopped_run(config(), 6, "run"), {0.25, 0.5, 0.75, 1.0, 1.0, 0.85});
  expect_moves(resume(config(), toy_.path("run")), {0.7, 0.55, 0.4, 0.25});
  expect_recorded(toy_.path("run"), kLinear);
}

// With 16 steps, t = (step - 4) / 12 from update 6 on.
TEST_F(Rates, FollowTheLongerScheduleOfAResumeWithMoreSteps) {
  stopped_run(config(), 6, "run");
  const std::vector<double> longer = {0.85, 0.775, 0.7, 0.625, 0.55, 0.475, 0.4, 0.325, 0.25, 0.175};
  expect_moves(resume(config({"train.steps=16"}), toy_.path("run")), longer);
  expect_recorded(toy_.path("run"), longer, 6);
}

// A run that keeps its peak rate is stopped after six updates, and goes on with a decay of four from there:
// 0.1 + 0.9 (1 - sqrt(t)) with t = 0, 1/4, 1/2 and 3/4.
TEST_F(Rates, DecayFromTheCheckpointOfAStableRun) {
  const RunConfig stable = config({"train.schedule=wsd", "train.steps=100"});
  expect_moves(stopped_run(stable, 6, "run"), {0.25, 0.5, 0.75, 1.0, 1.0, 1.0});
  const RunConfig decayed = config({"train.schedule=wsd", "train.steps=10", "train.decay_steps=4"});
  const std::vector<double> decay = {1.0, 0.55, 0.36360389693210727, 0.22057713659400526};
  const Course resumed = resume(decayed, toy_.path("run"));
  expect_moves(resumed, decay);
  expect_recorded(toy_.path("run"), decay, 6);
  // To the bit, it ends where the run ends that was to decay from the beginning.
  const Course straight = observe(toy_, decayed, "straight");
  for (size_t i = 0; i < kRates.size(); ++i) {
    for (const auto& [name, value] : straight.back()[i]) {
      EXPECT_TRUE(torch::equal(value, resumed.back()[i].at(name))) << kRates[i].arm << ", " << name;
    }
  }
}

// The shape of a decay may be chosen when it starts.
TEST_F(Rates, DecayInAnotherShapeAfterAResume) {
  stopped_run(config({"train.schedule=wsd", "train.steps=100"}), 6, "run");
  const RunConfig linear =
      config({"train.schedule=wsd", "train.steps=10", "train.decay_steps=4", "train.decay_shape=linear"});
  const ResumePlan plan =
      plan_resume(find_run(toy_.path("run")), false, linear, toy_.train_file(), toy_.valid_file());
  EXPECT_THAT(plan.notes,
              testing::ElementsAre(testing::HasSubstr("train.steps changed from '100' to '10'"),
                                   testing::HasSubstr("train.decay_steps changed from '0' to '4'"),
                                   testing::HasSubstr("train.decay_shape changed from 'sqrt'")));
  // A decay that is to have begun before the checkpoint makes the rate jump, which is said: 1 - 2/4 is left of 0.9.
  const RunConfig late =
      config({"train.schedule=wsd", "train.steps=8", "train.decay_steps=4", "train.decay_shape=linear"});
  const ResumePlan jump =
      plan_resume(find_run(toy_.path("run")), false, late, toy_.train_file(), toy_.valid_file());
  EXPECT_THAT(jump.notes,
              testing::Contains(testing::HasSubstr("jumps from 1 to 0.55 of its peak (train.steps=10")));
  expect_moves(resume(linear, toy_.path("run")), {1.0, 0.775, 0.55, 0.325});
}

// AdamW's moments and its count of updates come back: the first update after the resume is the third one of the
// formula, with the moments that were saved.
TEST_F(Rates, MomentsGoOnAfterAResume) {
  const RunConfig run = config({"train.betas=[0.5, 0.75]", "train.eps=1e-3"},
                               "arms: {a: {model: {position: {method: rse}}}}\n");
  const Course before = stopped_run(run, 2, "run");
  const SafetensorsContent saved =
      read_safetensors(optimizer_file(checkpoint_folder(toy_.path("run"), 2), "a.seed1"));
  const Course after = resume(run, toy_.path("run"));
  Replica replica(run.arms[0], 1, run.base.train, torch::kCPU);
  const SequenceSet sequences(toy_.train_file(), 32, Packing::kDocument, 8);
  const StepBatch batch = make_step_batch(toy_.train_file(), sequences, make_batch_plan(run.base), 1, 2);
  const Weights gradients = gradients_at(replica, before.back()[0], batch);
  for (const auto& [name, g] : gradients) {
    const torch::Tensor m = 0.5 * saved.tensors.at("exp_avg." + name).to(torch::kFloat64) + 0.5 * g;
    const torch::Tensor v = 0.75 * saved.tensors.at("exp_avg_sq." + name).to(torch::kFloat64) + 0.25 * g * g;
    // Update 3 has the factor 0.75 and the corrections 1 - 0.5^3 = 0.875 and 1 - 0.75^3 = 0.578125.
    const double rate = 0.75 * (name.ends_with("raw_decay") ? 0.02 : 0.004);
    const torch::Tensor expected =
        before.back()[0].at(name).to(torch::kFloat64) - rate * (m / 0.875) / ((v / 0.578125).sqrt() + 1e-3);
    EXPECT_LT(largest_change(expected, after[1][0].at(name)), 2e-6) << name;
  }
}

TEST_F(Rates, AreNamedByTheDryRun) {
  const std::string text = dry_run(config(), toy_.train_file(), toy_.valid_file(), torch::kCPU);
  const size_t plain = text.find("arm plain"), own = text.find("arm own"), rope = text.find("arm rope");
  ASSERT_LT(rope, text.size());
  EXPECT_THAT(text.substr(plain, own - plain), testing::AllOf(testing::HasSubstr("learning rate 0.004,"),
                                                              testing::HasSubstr("learning rate 0.02,")));
  EXPECT_THAT(text.substr(own, rope - own), testing::AllOf(testing::HasSubstr("learning rate 0.001,"),
                                                           testing::HasSubstr("learning rate 0.05,")));
  EXPECT_THAT(text.substr(rope), testing::HasSubstr("learning rate 0.002,"));
}

}  // namespace
}  // namespace rse
