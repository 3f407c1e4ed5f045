// Tests the checks that are made before a run starts, so that it does not fail hours later.
#include "train/preflight.h"

#include "tests/support.h"
#include "tests/train/toy_run.h"
#include "train/report.h"

namespace rse {
namespace {

// The bound is never above what the model's own report says, and not far below it where matrices dominate.
TEST(Preflight, LeastMemoryIsALowerBoundOfTheReport) {
  const ToyRun toy;
  for (const char* method : {"rse", "rope", "learned", "none"}) {
    const RunConfig config =
        toy.config("", {"model.width=128", "model.heads=2", "model.ffn_width=512",
                        "model.position.method=" + std::string(method), "data.packing=packed"});
    const MemoryNeed need = least_memory(config);
    Replica replica(config.arms[0], 1, config.base.train, torch::kCPU);
    const ModelReport report = report_arm(*replica.encoder(), config.base);
    EXPECT_LE(need.state, static_cast<double>(report.state_bytes)) << method;
    EXPECT_GE(need.state, 0.9 * static_cast<double>(report.state_bytes)) << method;
    for (const Recompute recompute : {Recompute::kNone, Recompute::kFfn, Recompute::kLayer}) {
      RunConfig changed = config;
      changed.base.train.recompute = recompute;
      const double need_then = least_memory(changed).activations;
      const double kept =
          estimate_arm(*replica.encoder(), changed.base, std::vector<int64_t>(4, 32), 20, torch::kCPU)
              .kept_bytes();
      EXPECT_LE(need_then, kept) << method;
      EXPECT_GE(need_then, 0.25 * kept) << method;
    }
  }
}

TEST(Preflight, ArmsAndSeedsAddUp) {
  const ToyRun toy;
  const MemoryNeed rope = least_memory(toy.config("", {"model.position.method=rope"}));
  const MemoryNeed rse = least_memory(toy.config("", {"model.position.method=rse"}));
  const MemoryNeed six = least_memory(toy.config(kTwoArms, {"train.seeds=[1, 2, 3]"}));
  EXPECT_DOUBLE_EQ(rse.state - rope.state, 4 * sizeof(float) * 2 * 2);  // a decay per head and layer
  // Every replica has its weights and two moments. Gradients live for one replica at a time, here the larger
  // one.
  EXPECT_DOUBLE_EQ(six.state, 3 * 0.75 * (rope.state + rse.state) + 0.25 * rse.state);
  EXPECT_DOUBLE_EQ(six.batches, rope.batches);
}

TEST(Preflight, ThisMachineHasMemory) {
  EXPECT_GT(host_memory_bytes(), int64_t{1} << 28);
  EXPECT_LT(host_memory_bytes(), int64_t{1} << 50);
}

TEST(Preflight, ASmallRunPassesAndALargeOneDoesNot) {
  const ToyRun toy;
  EXPECT_NO_THROW(check_before_start(toy.config(kTwoArms), toy.valid_file(), torch::kCPU));
  const RunConfig large =
      toy.config(kTwoArms, {"model.width=65536", "model.heads=1024", "model.layers=1000"});
  EXPECT_THAT([&] { check_before_start(large, toy.valid_file(), torch::kCPU); },
              ThrowsUserError("toy.yaml: model, train.batch_size '4'"));
}

TEST(Preflight, ValidationWithoutATargetIsAnError) {
  const ToyRun toy;
  EXPECT_THAT(
      [&] {
        check_before_start(toy.config(kTwoArms, {"data.mask.probability=1e-9"}), toy.valid_file(),
                           torch::kCPU);
      },
      ThrowsUserError("data.mask.probability: '1e-09': no target in 4 validation pieces of 32 tokens"));
  EXPECT_THAT(
      [&] {
        check_before_start(toy.config(kTwoArms, {"validation.mask_rate=1e-9"}), toy.valid_file(),
                           torch::kCPU);
      },
      ThrowsUserError("validation.mask_rate: '1e-09': no target in 4 validation pieces of 32 tokens"));
  check_before_start(toy.config(kTwoArms, {"data.mask.probability=1e-9", "validation.mask_rate=0.15"}),
                     toy.valid_file(), torch::kCPU);
}

}  // namespace
}  // namespace rse
