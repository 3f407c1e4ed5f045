// Tests checkpoints: what is in them, what makes them complete, and that a loaded replica continues bit for
// bit.
#include "run/checkpoint.h"

#include <fstream>

#include "core/file.h"
#include "eval/device_batch.h"
#include "tests/support.h"
#include "tests/train/toy_run.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

RunProgress at_step(int64_t step) {
  RunProgress progress;
  progress.step = step;
  return progress;
}

// Updates `replica` in the steps [begin, end) of its seed.
void advance(const ToyRun& toy, const RunConfig& config, Replica& replica, int64_t begin, int64_t end) {
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  for (int64_t step = begin; step < end; ++step) {
    const StepBatch batch =
        make_step_batch(toy.train_file(), sequences, make_batch_plan(config.base), replica.seed(), step);
    std::vector<DeviceBatch> micro;
    for (const TokenBatch& part : batch.micro_batches) micro.push_back(to_device(part, torch::kCPU));
    replica.read(replica.update(step, micro, batch.targets, batch.tokens));
  }
}

TEST(Checkpoint, ALoadedReplicaContinuesBitForBit) {
  const ToyRun toy;
  // There are 80 sequences per epoch and 16 per step, so that step 5 begins another epoch.
  const RunConfig config = toy.config("", {"model.position.method=rse", "train.steps=9", "train.batch_size=8",
                                           "train.accumulation=2", "model.dropout=0.1"});
  Replica straight(config.arms[0], 3, config.base.train, torch::kCPU);
  advance(toy, config, straight, 0, 9);

  Replica first(config.arms[0], 3, config.base.train, torch::kCPU);
  advance(toy, config, first, 0, 4);
  first.counters.peak_bytes = 12345;  // not counted on a CPU
  const fs::path folder =
      save_checkpoint(toy.path("run"), at_step(4), {first.snapshot()}, "a: 1\n", "model bytes");
  verify_checkpoint(folder);
  const TrainerState state = read_trainer_state(folder);
  EXPECT_EQ(state.step, 4);
  Replica second(config.arms[0], 3, config.base.train, torch::kCPU);
  second.restore(folder, state);
  EXPECT_EQ(second.counters.tokens, first.counters.tokens);
  EXPECT_EQ(second.counters.recent_losses, first.counters.recent_losses);
  EXPECT_EQ(second.counters.step_times_ms, first.counters.step_times_ms);
  EXPECT_EQ(second.counters.peak_bytes, 12345);
  advance(toy, config, second, 4, 9);

  EXPECT_TRUE(bit_equal(second.weights(), straight.weights()));
  EXPECT_TRUE(bit_equal(second.optimizer().state(), straight.optimizer().state()));
  EXPECT_EQ(second.counters.recent_losses, straight.counters.recent_losses);
  EXPECT_FALSE(bit_equal(first.weights(), straight.weights()));
}

TEST(Checkpoint, ATrainingRunKeepsTheNewestWithEverythingInside) {
  ToyRun toy;
  const RunConfig config = toy.config(kTwoArms, {"train.steps=6", "checkpoint.every=2", "checkpoint.keep=2"});
  const fs::path run = toy.train(config, "run");
  EXPECT_THAT(complete_checkpoints(run), testing::ElementsAre(4, 6));
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints"))
    names.push_back(entry.path().filename());
  EXPECT_THAT(names, testing::UnorderedElementsAre("step-4", "step-6"));
  const fs::path newest = checkpoint_folder(run, 6);
  verify_checkpoint(newest);
  EXPECT_EQ(read_file(newest / "tokenizer.model"), "toy tokenizer");
  EXPECT_EQ(read_file(newest / "config.yaml"), config.dump());
  const TrainerState state = read_trainer_state(newest);
  ASSERT_EQ(state.replicas.size(), 2u);
  EXPECT_EQ(state.replicas[1].counters.step, 6);
  EXPECT_EQ(state.replicas[1].counters.tokens, 6 * 4 * 32);
  Replica loaded(config.arms[1], 1, config.base.train, torch::kCPU);
  loaded.restore(newest, state);
  EXPECT_TRUE(bit_equal(loaded.weights(), toy.trainer->replicas()[1]->weights()));
}

class DamagedCheckpoint : public testing::Test {
 protected:
  ToyRun toy_;
  RunConfig config_ = toy_.config("", {"model.position.method=rse"});
  Replica replica_{config_.arms[0], 1, config_.base.train, torch::kCPU};
  fs::path folder_ =
      save_checkpoint(toy_.path("run"), at_step(3), {replica_.snapshot()}, "a: 1\n", "model bytes");
};

TEST_F(DamagedCheckpoint, WithoutItsMarkDoesNotCount) {
  fs::remove(folder_ / "COMPLETE");
  EXPECT_THAT(complete_checkpoints(toy_.path("run")), testing::IsEmpty());
  EXPECT_THAT([&] { verify_checkpoint(folder_); }, ThrowsUserError("not a complete checkpoint"));
  save_checkpoint(toy_.path("run"), at_step(3), {replica_.snapshot()}, "a: 1\n",
                  "model bytes");  // replaces the incomplete one
  EXPECT_THAT(complete_checkpoints(toy_.path("run")), testing::ElementsAre(3));
}

TEST_F(DamagedCheckpoint, EveryDamagedFileIsNamed) {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename();
    if (name == "COMPLETE") continue;
    const std::string good = read_file(entry.path());
    std::string bad = good;
    bad[bad.size() / 2] = static_cast<char>(bad[bad.size() / 2] ^ 0x10);
    std::ofstream(entry.path(), std::ios::binary) << bad;
    EXPECT_THAT([&] { verify_checkpoint(folder_); }, ThrowsUserError(name + ": checksum")) << name;
    std::ofstream(entry.path(), std::ios::binary) << good.substr(0, good.size() - 1);
    EXPECT_THAT([&] { verify_checkpoint(folder_); }, ThrowsUserError(name + ": ")) << name;
    std::ofstream(entry.path(), std::ios::binary) << good;
    verify_checkpoint(folder_);
  }
  fs::remove(folder_ / "trainer.json");
  EXPECT_THAT([&] { verify_checkpoint(folder_); }, ThrowsUserError("trainer.json: missing"));
}

// Flips single bits, spread over every file. The checksums must find each of them; a bit in COMPLETE counts
// only where it changes what the file says.
TEST_F(DamagedCheckpoint, FlippedBitsAreFoundEverywhere) {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename(), good = read_file(entry.path());
    for (int sample = 0; sample < 40; ++sample) {
      std::string bad = good;
      const size_t place = sample * (good.size() - 1) / 39;
      bad[place] = static_cast<char>(bad[place] ^ (1 << sample % 8));
      std::ofstream(entry.path(), std::ios::binary) << bad;
      if (name == "COMPLETE" && nlohmann::json::parse(bad, nullptr, false) == nlohmann::json::parse(good))
        continue;
      EXPECT_THAT([&] { verify_checkpoint(folder_); }, testing::Throws<UserError>())
          << name << ", byte " << place;
    }
    std::ofstream(entry.path(), std::ios::binary) << good;
  }
  verify_checkpoint(folder_);
}

TEST_F(DamagedCheckpoint, AGarbledMarkIsNamed) {
  for (const char* text :
       {"", "{", "[]", "null", "{\"version\": 2, \"files\": {}}", "{\"version\": 1}",
        "{\"version\": 1, \"files\": []}", "{\"version\": 1, \"files\": {\"config.yaml\": 3}}",
        "{\"version\": 1, \"files\": {\"none\": {}}}", "\xff\xfe"}) {
    std::ofstream(folder_ / "COMPLETE", std::ios::binary) << text;
    EXPECT_THAT([&] { verify_checkpoint(folder_); }, ThrowsUserError(folder_.string())) << text;
  }
}

// Tests the readers behind the checksums, which must refuse damaged files on their own.
TEST_F(DamagedCheckpoint, DamagedFilesAreRefusedByTheirReadersToo) {
  for (const char* name :
       {"rse.seed1.model.safetensors", "rse.seed1.optimizer.safetensors", "trainer.json"}) {
    const std::string good = read_file(folder_ / name);
    for (int sample = 0; sample < 60; ++sample) {
      std::string bad = good.substr(0, sample % 2 == 0 ? good.size() : sample * good.size() / 60);
      const size_t place = sample * std::min<size_t>(bad.size() - 1, 400) / 59;  // mostly in the headers
      bad[place] = static_cast<char>(bad[place] ^ (1 << sample % 8));
      std::ofstream(folder_ / name, std::ios::binary) << bad;
      try {
        replica_.restore(folder_, read_trainer_state(folder_));
      } catch (const UserError& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr(folder_.string()));
      } catch (const std::exception& error) {
        ADD_FAILURE() << name << ", byte " << place << ": " << error.what();
      }
    }
    std::ofstream(folder_ / name, std::ios::binary) << good;
  }
}

TEST_F(DamagedCheckpoint, OfAnotherModelIsRefusedAndChangesNothing) {
  const RunConfig other = toy_.config("", {"model.position.method=rse", "model.width=48"});
  Replica replica(other.arms[0], 1, other.base.train, torch::kCPU);
  NamedTensors before;
  for (const auto& [name, tensor] : replica.weights()) before.emplace_back(name, tensor.clone());
  EXPECT_THAT([&] { replica.restore(folder_, read_trainer_state(folder_)); },
              ThrowsUserError("expected F32"));
  EXPECT_TRUE(bit_equal(before, replica.weights()));
  Replica seed(config_.arms[0], 9, config_.base.train, torch::kCPU);
  EXPECT_THAT([&] { seed.restore(folder_, read_trainer_state(folder_)); },
              ThrowsUserError("arm rse, seed 9"));
}

TEST_F(DamagedCheckpoint, IsNeverOverwrittenWhileComplete) {
  EXPECT_THAT([&] { save_checkpoint(toy_.path("run"), at_step(3), {replica_.snapshot()}, "", ""); },
              ThrowsUserError("there already"));
}

TEST_F(DamagedCheckpoint, TrainerStateOfAnotherShapeIsAnError) {
  std::ofstream(folder_ / "trainer.json") << R"({"version": 2, "step": "four", "replicas": []})";
  EXPECT_THAT([&] { read_trainer_state(folder_); }, ThrowsUserError("trainer.json: not a trainer state"));
  std::ofstream(folder_ / "trainer.json") << R"({"version": 1, "step": 4, "replicas": []})";
  EXPECT_THAT([&] { read_trainer_state(folder_); }, ThrowsUserError("trainer.json: version 1, expected 2"));
  std::ofstream(folder_ / "trainer.json") << "[]";
  EXPECT_THAT([&] { read_trainer_state(folder_); }, ThrowsUserError("expected a JSON object"));
}

}  // namespace
}  // namespace rse
