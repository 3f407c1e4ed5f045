#include "nn/model_config.h"

namespace rse {

const std::vector<std::pair<std::string, BeyondTable>>& beyond_table_names() {
  static const std::vector<std::pair<std::string, BeyondTable>> kNames = {
      {"error", BeyondTable::kError},
      {"clamp", BeyondTable::kClamp},
      {"tile", BeyondTable::kTile},
      {"interpolate", BeyondTable::kInterpolate}};
  return kNames;
}

void LearnedPositionConfig::bind(ConfigBinder& b) {
  b.choice("init", init, {{"normal", TableInit::kNormal}, {"sinusoidal", TableInit::kSinusoidal}});
  b.field("max_positions", max_positions, between<int64_t>(1, int64_t{1} << 24));
  b.choice("beyond", beyond, beyond_table_names());
}

void DecayConfig::bind(ConfigBinder& b) {
  b.choice("scope", scope,
           {{"per_head", DecayScope::kPerHead},
            {"per_layer", DecayScope::kPerLayer},
            {"global", DecayScope::kGlobal}});
  b.choice("init", init, {{"uniform", DecayInit::kUniform}, {"geometric", DecayInit::kGeometric}});
  b.field("value", value, Range<double>{0.0, 100.0, true, false});
  if (b.reading() && init == DecayInit::kGeometric && scope != DecayScope::kPerHead) {
    throw_user_error("{}: {}: 'geometric': expected 'uniform' unless scope is 'per_head' (one slope a head)",
                     b.where("init"), b.path("init"));
  }
}

void RsePositionConfig::bind(ConfigBinder& b) {
  b.group("decay", decay);
  b.choice("mass", mass, {{"per_side", Mass::kPerSide}, {"shared", Mass::kShared}});
  b.field("self_key", self_key);
  b.choice("remainder", remainder, {{"drop", Remainder::kDrop}, {"self", Remainder::kSelf}});
  b.field("skip_below", skip_below, between(0.0, 0.1));
}

void PositionConfig::bind(ConfigBinder& b) {
  b.choice("method", method,
           {{"learned", PositionKind::kLearned},
            {"none", PositionKind::kNone},
            {"rope", PositionKind::kRope},
            {"rse", PositionKind::kRse}});
  b.group("learned", learned);
  b.field("rotary_base", rotary_base, between(0.0, 1e12));
  b.group("rse", rse);
  if (!b.reading()) return;
  if (rotary_base != 0.0 && rotary_base <= 1.0) {
    throw_user_error("{}: {}: '{}': expected 0 (no rotation) or a number above 1", b.where("rotary_base"),
                     b.path("rotary_base"), rotary_base);
  }
  if (rotary_base == 0.0 && method == PositionKind::kRope) {
    throw_user_error("{}: {}: '0': expected a number above 1 with method 'rope' ('none' has no rotation)",
                     b.where("rotary_base"), b.path("rotary_base"));
  }
}

void AttentionConfig::bind(ConfigBinder& b) {
  b.choice("backend", backend,
           {{"auto", Backend::kAuto},
            {"reference", Backend::kReference},
            {"portable", Backend::kPortable},
            {"hopper", Backend::kHopper}});
  b.field("deterministic", deterministic);
}

void ModelConfig::bind(ConfigBinder& b) {
  b.field("vocab_size", vocab_size, between<int64_t>(0, int64_t{1} << 24));
  b.field("layers", layers, between<int64_t>(1, 1000));
  b.field("width", width, between<int64_t>(8, 65536));
  b.field("heads", heads, between<int64_t>(1, 1024));
  b.field("ffn_width", ffn_width, between<int64_t>(1, int64_t{1} << 20));
  b.choice("norm", norm, {{"pre", NormPlacement::kPre}, {"post", NormPlacement::kPost}});
  b.field("embedding_norm", embedding_norm);
  b.choice("activation", activation, {{"gelu", Activation::kGelu}, {"geglu", Activation::kGeglu}});
  b.choice("head", head, {{"tied", HeadKind::kTied}, {"transform", HeadKind::kTransform}});
  b.field("dropout", dropout, Range<double>{0.0, 1.0, false, true});
  b.field("init_std", init_std, Range<double>{0.0, 10.0, true, false});
  b.group("position", position);
  b.group("attention", attention);
  if (!b.reading()) return;
  if (width % heads != 0) {
    throw_user_error("{}: {}: '{}': expected a divisor of {} ({})", b.where("heads"), b.path("heads"), heads,
                     b.path("width"), width);
  }
  if (head_dim() % 8 != 0 || head_dim() > 128) {
    throw_user_error("{}: {}: '{}': expected {} / heads ({} / {} = {}) to be a multiple of 8 from 8 to 128",
                     b.where("heads"), b.path("heads"), heads, b.path("width"), width, heads, head_dim());
  }
}

}  // namespace rse
