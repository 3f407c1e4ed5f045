#include "nn/position/learned.h"

#include <algorithm>

#include "core/check.h"
#include "nn/initialization.h"
#include "nn/model_config.h"
#include "nn/position/softmax.h"

namespace rse {
namespace {

// The values of model.position.learned.beyond.
const std::vector<std::pair<std::string, BeyondTable>>& beyond_names() {
  static const std::vector<std::pair<std::string, BeyondTable>> kNames = {
      {"error", BeyondTable::kError},
      {"clamp", BeyondTable::kClamp},
      {"tile", BeyondTable::kTile},
      {"interpolate", BeyondTable::kInterpolate}};
  return kNames;
}

int64_t usable_rows(const LearnedPositionConfig& keys) {
  return keys.trained_positions > 0 ? std::min(keys.max_positions, keys.trained_positions)
                                    : keys.max_positions;
}

// A table [max_positions, width], its row p added to the token at position p; sequences longer than the table
// as `beyond` says.
class LearnedPosition : public SoftmaxPosition {
 public:
  LearnedPosition(const ModelConfig& model, const LearnedPositionConfig& keys)
      : SoftmaxPosition(model),
        init_(keys.init),
        beyond_(keys.beyond),
        init_std_(model.init_std),
        rows_(usable_rows(keys)),
        table_(register_parameter("table", torch::zeros({keys.max_positions, model.width}))) {}

  torch::Tensor embed(const torch::Tensor& hidden, const SequenceLayout& layout) override;
  void initialize(uint64_t seed) override;

 private:
  // What is added at `positions`, int64 [n], of sequences of `lengths`, int64 [n] or []: [n, width].
  torch::Tensor rows_at(const torch::Tensor& positions, const torch::Tensor& lengths) const;

  TableInit init_;
  BeyondTable beyond_;
  double init_std_;
  int64_t rows_;  // of the table, from its start, that are used
  torch::Tensor table_;
};

torch::Tensor LearnedPosition::embed(const torch::Tensor& hidden, const SequenceLayout& layout) {
  const bool fits = layout.max_seqlen <= rows_;
  if (const int64_t length = layout.uniform_length; length > 0) {
    // Broadcasting makes the table's gradient one reduction.
    const torch::Tensor rows = fits ? table_.narrow(0, 0, length)
                                    : rows_at(layout.positions.narrow(0, 0, length),
                                              torch::full({}, length, layout.positions.options()));
    return (hidden.view({layout.sequences(), length, -1}) + rows).view_as(hidden);
  }
  if (fits) return hidden + torch::embedding(table_, layout.positions);
  const torch::Tensor lengths = layout.cu_seqlens.diff().to(torch::kInt64);
  return hidden + rows_at(layout.positions, at::repeat_interleave(lengths, lengths, 0, layout.total()));
}

torch::Tensor LearnedPosition::rows_at(const torch::Tensor& positions, const torch::Tensor& lengths) const {
  const int64_t rows = rows_;
  switch (beyond_) {
    case BeyondTable::kError:
      break;
    case BeyondTable::kClamp:
      return torch::embedding(table_, positions.clamp_max(rows - 1));
    case BeyondTable::kTile:
      return torch::embedding(table_, positions.remainder(rows));
    case BeyondTable::kInterpolate: {
      const torch::Tensor longer = lengths > rows;
      const torch::Tensor one = torch::ones_like(lengths);
      const torch::Tensor place = positions.to(torch::kFloat64) *
                                  torch::where(longer, (rows - 1) * one, one) /
                                  torch::where(longer, lengths - 1, one);
      const torch::Tensor below = place.floor().to(torch::kInt64);
      const torch::Tensor share = (place - below).to(table_.scalar_type()).unsqueeze(-1);
      return torch::lerp(torch::embedding(table_, below),
                         torch::embedding(table_, (below + 1).clamp_max(rows - 1)), share);
    }
  }
  RSE_ASSERT(false, "a sequence beyond the table of {} rows", rows);
}

void LearnedPosition::initialize(uint64_t seed) {
  torch::NoGradGuard no_grad;
  if (init_ == TableInit::kNormal) {
    fill_normal(table_, parameter_key(seed, "position.table"), init_std_);
  } else {
    table_.copy_(sinusoidal_table(table_.size(0), table_.size(1), init_std_));
  }
}

class LearnedSettings : public ClonedSettings<LearnedSettings, KeyedSettings<LearnedPositionConfig>> {
 public:
  const char* name() const override { return "learned"; }
  std::shared_ptr<PositionMethod> make(const ModelConfig& model) const override {
    return std::make_shared<LearnedPosition>(model, keys);
  }
  int64_t parameters(const ModelConfig& model) const override { return keys.max_positions * model.width; }

  std::optional<LengthLimit> limit() const override {
    LengthLimit limit;
    limit.positions = usable_rows(keys);
    limit.configured = keys.max_positions;
    limit.key = "model.position.learned.max_positions";
    limit.beyond_key = "model.position.learned.beyond";
    for (const auto& [name, beyond] : beyond_names()) {
      if (beyond == keys.beyond && beyond != BeyondTable::kError) limit.rule = name;
    }
    limit.rules = {
        {"clamp", "the last row"}, {"tile", "position mod rows"}, {"interpolate", "linear over the table"}};
    return limit;
  }
  void set_trained_length(int64_t tokens) override {
    keys.trained_positions = std::min(keys.max_positions, tokens);
  }
  void set_beyond(const std::string& rule) override {
    for (const auto& [name, beyond] : beyond_names()) {
      if (name == rule) keys.beyond = beyond;
    }
  }
};

}  // namespace

void LearnedPositionConfig::bind(ConfigBinder& b) {
  b.choice("init", init, {{"normal", TableInit::kNormal}, {"sinusoidal", TableInit::kSinusoidal}});
  b.field("max_positions", max_positions, between<int64_t>(1, int64_t{1} << 24));
  b.choice("beyond", beyond, beyond_names());
}

std::unique_ptr<PositionSettings> learned_position() { return std::make_unique<LearnedSettings>(); }

}  // namespace rse
