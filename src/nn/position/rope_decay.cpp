// The position method `rope_decay`: softmax attention with rotation and a learned decay per head,
//   logit_ij = <R_i q_i, R_j k_j> / sqrt(head_dim) - lambda_h |i - j|,
// which is RSE's logit without its stick. rotary_base 0 leaves the rotation out.
#include "nn/attention_bias.h"
#include "nn/model_config.h"
#include "nn/position/decay.h"
#include "nn/position/position_method.h"
#include "nn/rotary.h"
#include "nn/softmax_attention.h"
#include "nn/softmax_memory.h"

namespace rse {
namespace {

struct RopeDecayPositionConfig {
  DecayConfig decay;
  bool operator==(const RopeDecayPositionConfig&) const = default;
  void bind(ConfigBinder& b) { b.group("decay", decay); }
};

// -lambda_h |i - j|; the parameter is lambda, [heads].
class DecayBias : public AttentionBias {
 public:
  explicit DecayBias(torch::Tensor decay) : decay_(std::move(decay)) {}
  torch::Tensor parameter() const override { return decay_; }
  torch::Tensor block(const torch::Tensor& decay, const torch::Tensor& query_positions,
                      const torch::Tensor& key_positions) const override {
    const torch::Tensor distance =
        (query_positions.unsqueeze(-1) - key_positions.unsqueeze(-2)).abs_().to(decay.scalar_type());
    return distance.unsqueeze(-3) * decay.neg().view({-1, 1, 1});
  }

 private:
  torch::Tensor decay_;
};

class RopeDecayPosition : public PositionMethod {
 public:
  RopeDecayPosition(const ModelConfig& model, const RopeDecayPositionConfig& keys)
      : width_(model.width),
        head_dim_(model.head_dim()),
        base_(model.position.rotary_base),
        decay_(*this, keys.decay, model.layers, model.heads) {}

  torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                       const torch::Tensor& value, const SequenceLayout& layout) override {
    const auto rotated = [&](const torch::Tensor& x) { return base_ == 0.0 ? x : rotate(x, layout, base_); };
    return softmax_attention(rotated(query), rotated(key), value, layout,
                             c10::make_intrusive<DecayBias>(decay_.of_layer(layer)));
  }
  void initialize(uint64_t /*seed*/) override { decay_.initialize(); }
  torch::Tensor decays() const override { return decay_.values(); }
  double attention_flops(int64_t length) const override { return all_pairs_flops(length, width_); }
  AttentionMemory memory(const BatchShape& shape) const override {
    return softmax_attention_memory(shape, width_ / head_dim_, width_, /*rotated=*/base_ != 0.0,
                                    /*biased=*/true);
  }
  int64_t table_bytes(int64_t length) const override {
    return base_ == 0.0 ? 0 : rotary_table_bytes(length, head_dim_);
  }
  std::string describe(const torch::Device& /*device*/) const override {
    const std::string rotation = base_ == 0.0 ? "not rotated" : fmt::format("rotated (base {})", base_);
    return fmt::format("softmax (scaled_dot_product_attention, the decay as its mask), {}", rotation);
  }

 private:
  int64_t width_, head_dim_;
  double base_;
  LearnedDecay decay_;
};

class RopeDecaySettings : public ClonedSettings<RopeDecaySettings, KeyedSettings<RopeDecayPositionConfig>> {
 public:
  const char* name() const override { return "rope_decay"; }
  bool has_decay() const override { return true; }
  std::shared_ptr<PositionMethod> make(const ModelConfig& model) const override {
    return std::make_shared<RopeDecayPosition>(model, keys);
  }
  int64_t parameters(const ModelConfig& model) const override {
    return keys.decay.parameters(model.layers, model.heads);
  }
};

}  // namespace

std::unique_ptr<PositionSettings> rope_decay_position() { return std::make_unique<RopeDecaySettings>(); }

}  // namespace rse
