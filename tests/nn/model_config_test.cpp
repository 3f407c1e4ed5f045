#include "nn/model_config.h"

#include "nn/position/learned.h"
#include "nn/position/rse.h"
#include "tests/support.h"

namespace rse {
namespace {

ModelConfig read(const std::string& text) {
  ModelConfig config;
  bind_config(parse_config(text, "m.yaml"), config);
  return config;
}

TEST(ModelConfig, ReadsEveryKeyAndDumpsThemBack) {
  const ModelConfig config = read(R"(
vocab_size: 1000
layers: 3
width: 128
heads: 4
ffn_width: 99
norm: post
embedding_norm: true
activation: geglu
biases: false
dropout: 0.25
init_std: 0.05
position:
  method: learned
  rotary_base: 500
  learned: {init: normal, max_positions: 77, beyond: tile}
  rse:
    decay: {scope: per_layer, init: uniform, value: 0.5}
    mass: shared
    self_key: false
    remainder: self
    skip_below: 0
attention: {backend: reference, deterministic: true}
)");
  ModelConfig expected;
  expected.vocab_size = 1000;
  expected.layers = 3;
  expected.width = 128;
  expected.heads = 4;
  expected.ffn_width = 99;
  expected.norm = NormPlacement::kPost;
  expected.embedding_norm = true;
  expected.activation = Activation::kGeglu;
  expected.biases = false;
  expected.dropout = 0.25;
  expected.init_std = 0.05;
  expected.position.method = "learned";
  expected.position.rotary_base = 500;
  expected.position.keys<LearnedPositionConfig>() = {TableInit::kNormal, 77, BeyondTable::kTile};
  expected.position.keys<RsePositionConfig>() = {
      {DecayScope::kPerLayer, DecayInit::kUniform, 0.5}, Mass::kShared, false, Remainder::kSelf, 0};
  expected.attention = {Backend::kReference, true};
  EXPECT_EQ(config, expected);
  EXPECT_EQ(read(dump_config(dump_bound(config))), expected);
  EXPECT_EQ(read(""), ModelConfig());
}

// When a run is resumed, its dump is compared with an older one, so the keys must keep their order.
TEST(ModelConfig, DumpsPositionKeysInTheListsOrder) {
  const ConfigNode dumped = dump_bound(ModelConfig());
  std::vector<std::string> keys;
  for (const auto& [key, value] : dumped.find("position")->entries) keys.push_back(key);
  EXPECT_THAT(keys, testing::ElementsAre("method", "learned", "rotary_base", "rope_decay", "rse"));
}

TEST(ModelConfig, CopiesOfPositionSettingsAreIndependent) {
  const ModelConfig original;
  ModelConfig copy = original;
  copy.position.keys<LearnedPositionConfig>().max_positions = 7;
  EXPECT_NE(copy, original);
  EXPECT_EQ(original.position.keys<LearnedPositionConfig>().max_positions, 512);
  copy = original;
  EXPECT_EQ(copy, original);
}

TEST(ModelConfig, ErrorsNameFileLineAndKey) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"layers: 0", "m.yaml:1: layers: '0': expected a whole number"},
      {"\nwidth: 100\nheads: 3", "m.yaml:3: heads: '3': expected a divisor of width (100)"},
      {"width: 100\nheads: 25",
       "m.yaml:2: heads: '25': expected width / heads (100 / 25 = 4) to be a multiple of 8"},
      {"width: 272\nheads: 2", "m.yaml:2: heads: '2': expected width / heads (272 / 2 = 136)"},
      {"dropout: 1", "m.yaml:1: dropout: '1'"},
      {"dropout: -0.1", "m.yaml:1: dropout"},
      {"init_std: 0", "m.yaml:1: init_std"},
      {"activation: relu", "expected one of gelu, geglu"},
      {"position: {method: ropes}", "did you mean 'rope'"},
      {"position: {method: rope, rotary_base: 0}", "position.rotary_base: '0': expected a number above 1"},
      {"position: {rotary_base: 0.5}", "position.rotary_base: '0.5'"},
      {"position: {learned: {beyond: wrap}}", "expected one of error, clamp, tile, interpolate"},
      {"position: {learned: {max_positions: 0}}", "position.learned.max_positions: '0'"},
      {"position:\n  rse:\n    decay: {scope: global, init: geometric}",
       "m.yaml:3: position.rse.decay.init: 'geometric'"},
      {"position: {rse: {decay: {value: 0}}}", "position.rse.decay.value: '0'"},
      {"position: {rse: {skip_below: 1}}", "position.rse.skip_below: '1'"},
      {"position: {rope_decay: {decay: {value: -1}}}", "position.rope_decay.decay.value: '-1'"},
      {"position: {rope_decay: {decay: {scope: heads}}}", "position.rope_decay.decay.scope: 'heads'"},
      {"position: {rse: {self: true}}", "unknown key 'position.rse.self'"},
      {"attention: {backend: cuda}", "attention.backend: 'cuda'"},
      {"position: {rotary_base: 1}",
       "position.rotary_base: '1': expected 0 (no rotation) or a number above 1"},
      {"haeds: 3", "unknown key 'haeds', did you mean 'heads'"},
      {"head: dense", "m.yaml:1: head: 'dense': expected one of tied, transform"},
  };
  for (const auto& [text, message] : cases)
    EXPECT_THAT([&] { read(text); }, ThrowsUserError(message)) << text;
}

}  // namespace
}  // namespace rse
