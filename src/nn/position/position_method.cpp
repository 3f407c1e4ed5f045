#include "nn/position/position_method.h"

namespace rse {

torch::Tensor PositionMethod::embed(const torch::Tensor& hidden, const SequenceLayout& /*layout*/) {
  return hidden;
}

void PositionMethod::initialize(uint64_t /*seed*/) {}

int64_t PositionMethod::table_bytes(int64_t /*length*/) const { return 0; }

bool PositionMethod::observe(AttentionObserver /*observer*/) { return false; }

std::shared_ptr<PositionMethod> make_position_method(const ModelConfig& model) {
  return model.position.active().make(model);
}

double all_pairs_flops(int64_t length, int64_t width) {
  return 4.0 * static_cast<double>(length) * static_cast<double>(length) * static_cast<double>(width);
}

}  // namespace rse
