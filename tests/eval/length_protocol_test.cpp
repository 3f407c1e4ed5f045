// Tests evaluation at several lengths: what must stay the same, and what toy models with known context must
// show.
#include "eval/length_protocol.h"

#include <numeric>

#include "tests/data/toy_file.h"
#include "tests/eval/toy_models.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

constexpr int64_t kVocabulary = 40;

class LengthProtocolTest : public testing::Test {
 protected:
  void SetUp() override {
    write_toy_file(folder_ / "a.bin", {600, 130, 20, 900, 256, 300}, kVocabulary);
    file_ = std::make_unique<TokenFile>(folder_ / "a.bin");
  }
  static ProtocolConfig config() {
    ProtocolConfig config;
    config.lengths = {32, 64, 128};
    config.control_window = 16;
    config.seed = 4;
    return config;
  }
  TemporaryFolder folder_;
  std::unique_ptr<TokenFile> file_;
};

TEST_F(LengthProtocolTest, InputsAndTargetsAreTheSameAtEveryLength) {
  for (const int64_t max_targets : {0, 100}) {
    ProtocolConfig few = config();
    few.max_targets = max_targets;
    const LengthProtocol protocol(*file_, few);
    ASSERT_EQ(protocol.settings().size(), 6u);
    TokenBatch first;
    for (const auto& setting : protocol.settings()) {
      TargetPlaces places;
      const TokenBatch batch =
          target_batch(protocol.set(), protocol.evaluation(setting, {}), 0, protocol.set().size(), places);
      if (first.input_ids.empty()) first = batch;
      EXPECT_EQ(batch.input_ids, first.input_ids);
      EXPECT_EQ(batch.target_positions, first.target_positions);
      EXPECT_EQ(batch.target_ids, first.target_ids);
      EXPECT_EQ(places.documents, protocol.places().documents);
      EXPECT_EQ(places.offsets, protocol.places().offsets);
      ASSERT_EQ(batch.borders.size(), static_cast<size_t>(batch.total() / setting.first + 1));
      for (size_t i = 0; i < batch.borders.size(); ++i) {
        EXPECT_EQ(batch.borders[i], static_cast<int32_t>(i) * setting.first);
      }
    }
    EXPECT_EQ(first.targets(), protocol.places().size());
  }
}

TEST_F(LengthProtocolTest, PlacesAreDocumentsAndOffsetsInPieces) {
  const LengthProtocol protocol(*file_, config());
  const TargetPlaces& places = protocol.places();
  size_t i = 0;
  for (const Piece& piece : protocol.set().pieces()) {
    const DocumentMask mask({}, {.size = kVocabulary}, 4, kEvaluationEpoch, piece.document);
    for (uint64_t p = 0; p < piece.length; ++p) {
      const int64_t token = file_->token(piece.begin + p);
      if (!mask.draw(piece.offset + p, token).target) continue;
      ASSERT_LT(i, places.documents.size());
      EXPECT_EQ(places.documents[i], static_cast<int64_t>(piece.document));
      EXPECT_EQ(places.offsets[i++], static_cast<int64_t>(p));
    }
  }
  EXPECT_EQ(i, places.documents.size());
}

TEST_F(LengthProtocolTest, AModelOfNearContextDiffersOnlyAtEdges) {
  constexpr int64_t kReach = 16;
  ProtocolConfig with_control = config();
  with_control.lengths = {64, 128, 256};
  with_control.control_window = 32;
  const LengthProtocol protocol(*file_, with_control);
  const auto losses = protocol.measure(near_model(kVocabulary, kReach), {});
  const auto& offsets = protocol.places().offsets;
  const LengthLosses& base = losses[0];
  for (size_t l = 1; l < 3; ++l) {
    int64_t moved = 0;
    double edges = 0, all = 0;
    for (size_t i = 0; i < offsets.size(); ++i) {
      const double difference = double(losses[l].nll[i]) - double(base.nll[i]);
      all += difference;
      // Every edge of a long window is also an edge of a short window.
      const bool cut = edge_distance(offsets[i], base.length) < kReach &&
                       edge_distance(offsets[i], losses[l].length) != edge_distance(offsets[i], base.length);
      if (cut) edges += difference;
      if (!cut) {
        ASSERT_EQ(losses[l].nll[i], base.nll[i]) << offsets[i];
      }
      moved += difference != 0;
    }
    EXPECT_GT(moved, 10);
    EXPECT_NE(edges, 0.0);
    EXPECT_EQ(all, edges);
    // The control has the same edges and sees more than this model can, so it explains the whole change.
    EXPECT_EQ(losses[3 + l].attention_window, 32);
    EXPECT_EQ(losses[3 + l].nll, losses[l].nll);
  }
}

TEST_F(LengthProtocolTest, ControlIsTheFullModelWhereItCoversTheWindow) {
  ProtocolConfig covering = config();
  covering.control_window = 32;
  const LengthProtocol protocol(*file_, covering);
  for (const std::string kind : {"none", "rope", "rope_decay", "rse"}) {
    const auto losses = protocol.measure(evaluator_of(small_encoder(small_config(kind))), {});
    EXPECT_EQ(losses[3].nll, losses[0].nll) << kind;
    EXPECT_NE(losses[4].nll, losses[1].nll) << kind;
  }
}

TEST_F(LengthProtocolTest, EverySettingReachesTheModel) {
  const LengthProtocol protocol(*file_, config());
  std::vector<std::pair<int64_t, int64_t>> seen;
  const auto watching = [&](const torch::Tensor& input_ids, const SequenceLayout& layout,
                            const torch::Tensor& targets) {
    seen.emplace_back(layout.uniform_length, layout.attention_window);
    return near_model(kVocabulary, 4)(input_ids, layout, targets);
  };
  protocol.measure(watching, {});
  EXPECT_EQ(seen, (std::vector<std::pair<int64_t, int64_t>>{
                      {32, 0}, {64, 0}, {128, 0}, {32, 16}, {64, 16}, {128, 16}}));
}

TEST_F(LengthProtocolTest, BatchSizeChangesRoundingOnly) {
  const LengthProtocol protocol(*file_, config());
  for (const std::string kind : {"rope", "rope_decay", "rse"}) {
    const Evaluator model = evaluator_of(small_encoder(small_config(kind)));
    const auto together = protocol.measure(model, {});
    std::vector<int64_t> steps;
    const auto alone =
        protocol.measure(model, {.batch_tokens = 1}, [&](int64_t done) { steps.push_back(done); });
    EXPECT_TRUE(std::is_sorted(steps.begin(), steps.end()));
    EXPECT_EQ(steps.back(), protocol.tokens());
    for (size_t l = 0; l < together.size(); ++l) {
      ASSERT_EQ(together[l].nll.size(), alone[l].nll.size());
      for (size_t i = 0; i < alone[l].nll.size(); ++i) {
        EXPECT_NEAR(together[l].nll[i], alone[l].nll[i], 2e-5);
      }
    }
  }
}

TEST_F(LengthProtocolTest, MaxTargetsTakesTheFewestPiecesAndExactlyThatMany) {
  const LengthProtocol all(*file_, config());
  for (const PieceChoice choice : {PieceChoice::kSpread, PieceChoice::kFirst}) {
    for (const int64_t wanted : {1, 7, 50, 120}) {
      ProtocolConfig few = config();
      few.max_targets = wanted;
      few.pieces = choice;
      const LengthProtocol protocol(*file_, few);
      EXPECT_EQ(protocol.places().size(), wanted);
      EXPECT_LT(protocol.set().size(), all.set().size());
      for (int64_t pieces = 1; pieces <= protocol.set().size(); ++pieces) {
        ProtocolConfig fewer = config();
        fewer.max_pieces = pieces;
        fewer.pieces = choice;
        const bool enough = LengthProtocol(*file_, fewer).places().size() >= wanted;
        EXPECT_EQ(enough, pieces == protocol.set().size()) << pieces;
      }
      // The draw of targets does not depend on the lengths or the control.
      ProtocolConfig other = few;
      other.lengths = {128};
      other.control_window = 0;
      EXPECT_EQ(LengthProtocol(*file_, other).places().offsets, protocol.places().offsets);
    }
  }
  ProtocolConfig many = config();
  many.max_targets = 1000000;
  EXPECT_EQ(LengthProtocol(*file_, many).places().offsets, all.places().offsets);
}

TEST_F(LengthProtocolTest, ThinnedTargetsHaveTheLossesTheyHaveAmongAll) {
  ProtocolConfig few = config();
  few.max_pieces = 5;
  const LengthProtocol all(*file_, few);
  few.max_targets = all.places().size() - 10;  // needs all five pieces
  const LengthProtocol thinned(*file_, few);
  ASSERT_EQ(thinned.set().size(), 5);
  const auto place = [](const LengthProtocol& protocol, size_t i) {
    return std::pair(protocol.places().documents[i], protocol.places().offsets[i]);
  };
  const Evaluator model = near_model(kVocabulary, 16);
  const auto every = all.measure(model, {}), some = thinned.measure(model, {});
  size_t at = 0;
  for (size_t i = 0; i < some[0].nll.size(); ++i, ++at) {
    while (at < every[0].nll.size() && place(all, at) != place(thinned, i)) ++at;
    ASSERT_LT(at, every[0].nll.size());
    for (size_t l = 0; l < some.size(); ++l) EXPECT_EQ(some[l].nll[i], every[l].nll[at]);
  }
}

TEST_F(LengthProtocolTest, LengthsBeyondALearnedTableFollowItsRule) {
  ModelConfig model = small_config("learned");
  model.position.keys<LearnedPositionConfig>().max_positions = 32;
  const LengthProtocol protocol(*file_, config());
  EXPECT_THAT([&] { protocol.measure(evaluator_of(small_encoder(model)), {}); },
              ThrowsUserError("max_positions: '32': expected at least 64"));
  std::vector<std::vector<LengthLosses>> by_rule;
  for (const BeyondTable beyond : {BeyondTable::kClamp, BeyondTable::kTile, BeyondTable::kInterpolate}) {
    model.position.keys<LearnedPositionConfig>().beyond = beyond;
    by_rule.push_back(protocol.measure(evaluator_of(small_encoder(model)), {}));
  }
  EXPECT_EQ(by_rule[0][0].nll, by_rule[1][0].nll);  // the table has all rows that the first length needs
  EXPECT_EQ(by_rule[0][0].nll, by_rule[2][0].nll);
  EXPECT_NE(by_rule[0][1].nll, by_rule[1][1].nll);
  EXPECT_NE(by_rule[1][1].nll, by_rule[2][1].nll);
}

TEST_F(LengthProtocolTest, Errors) {
  const auto fails = [&](const std::function<void(ProtocolConfig&)>& change, const std::string& message) {
    ProtocolConfig bad = config();
    change(bad);
    EXPECT_THAT([&] { LengthProtocol(*file_, bad); }, ThrowsUserError(message));
  };
  fails([](ProtocolConfig& c) { c.lengths = {}; }, "expected at least one");
  fails([](ProtocolConfig& c) { c.lengths = {0, 32}; }, "lengths: '0'");
  fails(
      [](ProtocolConfig& c) {
        c.lengths = {48, 128};
      },
      "lengths: '48': expected a divisor of the longest (128)");
  fails([](ProtocolConfig& c) { c.lengths = {64, 32}; }, "lengths: '32' after '64'");
  fails([](ProtocolConfig& c) { c.lengths = {32, 32}; }, "lengths: '32' after '32'");
  fails([](ProtocolConfig& c) { c.lengths = {1024}; }, "longest document has 900 tokens");
  fails([](ProtocolConfig& c) { c.masking.probability = 1e-12; }, "no target in");
}

TEST(GpuLengthProtocol, AgreesWithTheCpu) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
  TemporaryFolder folder;
  write_toy_file(folder / "a.bin", {600, 300}, kVocabulary);
  const TokenFile file(folder / "a.bin");
  ProtocolConfig config;
  config.lengths = {32, 128};
  config.control_window = 16;
  const LengthProtocol protocol(file, config);
  for (const std::string kind : {"none", "rope", "rope_decay", "rse"}) {
    Encoder encoder = small_encoder(small_config(kind));
    const auto expected = protocol.measure(evaluator_of(encoder), {});
    encoder->to(torch::kCUDA);
    const auto losses = protocol.measure(evaluator_of(encoder), {.device = torch::kCUDA});
    for (size_t l = 0; l < losses.size(); ++l) {
      for (size_t i = 0; i < losses[l].nll.size(); ++i) {
        EXPECT_NEAR(losses[l].nll[i], expected[l].nll[i], 2e-3) << kind;
      }
    }
  }
}

}  // namespace
}  // namespace rse
