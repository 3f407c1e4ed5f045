#include "nn/position/rse.h"

#include "nn/model_config.h"
#include "nn/position/position_method.h"
#include "nn/rotary.h"
#include "ops/attention_memory.h"

namespace rse {
namespace {

AttentionOptions options_of(const ModelConfig& model, const RsePositionConfig& keys) {
  AttentionOptions options;
  options.mass = keys.mass;
  options.self_key = keys.self_key;
  options.remainder = keys.remainder;
  options.skip_below = keys.skip_below;
  options.rotary_base = model.position.rotary_base;
  options.deterministic = model.attention.deterministic;
  options.backend = model.attention.backend;
  return options;
}

class RsePosition : public PositionMethod {
 public:
  RsePosition(const ModelConfig& model, const RsePositionConfig& keys)
      : heads_(model.heads),
        head_dim_(model.head_dim()),
        options_(options_of(model, keys)),
        decay_(*this, keys.decay, model.layers, model.heads) {}

  torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                       const torch::Tensor& value, const SequenceLayout& layout) override;
  void initialize(uint64_t /*seed*/) override { decay_.initialize(); }
  torch::Tensor decays() const override { return decay_.values(); }
  double attention_flops(int64_t length) const override {
    return all_pairs_flops(length, heads_ * head_dim_);  // skipped pairs are counted too
  }
  AttentionMemory memory(const BatchShape& shape) const override {
    const AttentionBytes bytes =
        attention_bytes(shape.lengths, heads_, head_dim_, shape.dtype, shape.device, options_);
    const double matrix = shape.element() * static_cast<double>(shape.tokens() * heads_ * head_dim_);
    return {{{"query, key and value", 3 * matrix},
             {"attention output", matrix},
             {"remainders and extents", static_cast<double>(bytes.remainders)},
             {"what the attention kernels keep", static_cast<double>(bytes.saved)}},
            static_cast<double>(bytes.workspace)};
  }
  int64_t table_bytes(int64_t length) const override {
    return options_.rotary_base == 0.0 ? 0 : rotary_table_bytes(length, head_dim_);
  }
  std::string describe(const torch::Device& device) const override {
    return "RSE, " + describe_backend(options_.backend, device);
  }
  bool observe(AttentionObserver observer) override {
    observer_ = std::move(observer);
    return true;
  }

 private:
  int64_t heads_, head_dim_;
  AttentionOptions options_;
  LearnedDecay decay_;
  AttentionObserver observer_;
};

torch::Tensor RsePosition::attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                                  const torch::Tensor& value, const SequenceLayout& layout) {
  torch::Tensor decay = decay_.of_layer(layer);
  if (query.scalar_type() == torch::kFloat64) decay = decay.to(torch::kFloat64);
  AttentionOptions options = options_;
  if (layout.windowed()) options.window = layout.attention_window;
  if (layout.uniform_length == 0) {
    if (observer_) observer_(layer, query, key, value, decay);
    return attention(query, key, value, decay, layout.cu_seqlens, layout.max_seqlen, options, layout.borders)
        .out;
  }
  const std::vector<int64_t> shape = {layout.sequences(), layout.uniform_length, heads_, head_dim_};
  const torch::Tensor q = query.view(shape), k = key.view(shape), v = value.view(shape);
  if (observer_) observer_(layer, q, k, v, decay);
  return attention(q, k, v, decay, std::nullopt, 0, options).out.reshape(query.sizes());
}

class RseSettings : public ClonedSettings<RseSettings, KeyedSettings<RsePositionConfig>> {
 public:
  const char* name() const override { return "rse"; }
  bool has_decay() const override { return true; }
  std::shared_ptr<PositionMethod> make(const ModelConfig& model) const override {
    return std::make_shared<RsePosition>(model, keys);
  }
  int64_t parameters(const ModelConfig& model) const override {
    return keys.decay.parameters(model.layers, model.heads);
  }
};

}  // namespace

void RsePositionConfig::bind(ConfigBinder& b) {
  b.group("decay", decay);
  b.choice("mass", mass, mass_names());
  b.field("self_key", self_key);
  b.choice("remainder", remainder, remainder_names());
  b.field("skip_below", skip_below, between(0.0, 0.1));
}

std::unique_ptr<PositionSettings> rse_position() { return std::make_unique<RseSettings>(); }

}  // namespace rse
