#include "nn/position/position_method.h"

#include "core/check.h"
#include "nn/position/rse.h"
#include "nn/position/softmax.h"

namespace rse {

torch::Tensor PositionMethod::embed(const torch::Tensor& hidden, const SequenceLayout& /*layout*/) {
  return hidden;
}

void PositionMethod::initialize(uint64_t /*seed*/) {}

int64_t PositionMethod::table_bytes(int64_t /*length*/) const { return 0; }

std::shared_ptr<PositionMethod> make_position_method(const ModelConfig& config) {
  switch (config.position.method) {
    case PositionKind::kLearned:
      return std::make_shared<LearnedPosition>(config);
    case PositionKind::kNone:
      return std::make_shared<SoftmaxPosition>(config);
    case PositionKind::kRope:
      return std::make_shared<RopePosition>(config);
    case PositionKind::kRse:
      return std::make_shared<RsePosition>(config);
  }
  RSE_ASSERT(false, "a position kind without a method");
}

}  // namespace rse
