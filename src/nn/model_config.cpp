#include "nn/model_config.h"

namespace rse {

void AttentionConfig::bind(ConfigBinder& b) {
  b.choice("backend", backend, backend_names());
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
  b.field("biases", biases);
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
  if (const HeadDims dims = position.active().head_dims();
      head_dim() % dims.multiple != 0 || head_dim() > dims.most) {
    throw_user_error("{}: {}: '{}': expected {} / heads ({} / {} = {}) to be a multiple of {} from {} to {}",
                     b.where("heads"), b.path("heads"), heads, b.path("width"), width, heads, head_dim(),
                     dims.multiple, dims.multiple, dims.most);
  }
}

}  // namespace rse
