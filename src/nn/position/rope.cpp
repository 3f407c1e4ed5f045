// The position method `rope`: queries and keys rotated by position (Su et al. 2021; nn/rotary.h).
#include "core/check.h"
#include "nn/position/softmax.h"
#include "nn/rotary.h"
#include "nn/softmax_memory.h"

namespace rse {
namespace {

class RopePosition : public SoftmaxPosition {
 public:
  explicit RopePosition(const ModelConfig& model)
      : SoftmaxPosition(model),
        heads_(model.heads),
        head_dim_(model.head_dim()),
        base_(model.position.rotary_base) {}

  torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                       const torch::Tensor& value, const SequenceLayout& layout) override {
    return SoftmaxPosition::attend(layer, rotate(query, layout, base_), rotate(key, layout, base_), value,
                                   layout);
  }
  AttentionMemory memory(const BatchShape& shape) const override {
    return softmax_attention_memory(shape, heads_, heads_ * head_dim_, /*rotated=*/true, /*biased=*/false);
  }
  int64_t table_bytes(int64_t length) const override { return rotary_table_bytes(length, head_dim_); }
  std::string describe(const torch::Device& device) const override {
    return SoftmaxPosition::describe(device) + fmt::format(", rotated (base {})", base_);
  }

 private:
  int64_t heads_, head_dim_;
  double base_;
};

class RopeSettings : public ClonedSettings<RopeSettings> {
 public:
  const char* name() const override { return "rope"; }

  // rotary_base is a key of `model.position`, since other methods rotate too.
  void bind(ConfigBinder& b, PositionConfig& shared) override {
    const double& base = shared.rotary_base;
    b.field("rotary_base", shared.rotary_base, between(0.0, 1e12));
    if (!b.reading()) return;
    if (base != 0.0 && base <= 1.0) {
      throw_user_error("{}: {}: '{}': expected 0 (no rotation) or a number above 1", b.where("rotary_base"),
                       b.path("rotary_base"), base);
    }
    if (base == 0.0 && shared.method == name()) {
      throw_user_error("{}: {}: '0': expected a number above 1 with method 'rope' ('none' has no rotation)",
                       b.where("rotary_base"), b.path("rotary_base"));
    }
  }
  std::shared_ptr<PositionMethod> make(const ModelConfig& model) const override {
    return std::make_shared<RopePosition>(model);
  }
};

}  // namespace

std::unique_ptr<PositionSettings> rope_position() { return std::make_unique<RopeSettings>(); }

}  // namespace rse
