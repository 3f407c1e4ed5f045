// The position method `none`: attention sees a set of tokens.
#include "nn/position/softmax.h"

namespace rse {
namespace {

class NoneSettings : public ClonedSettings<NoneSettings> {
 public:
  const char* name() const override { return "none"; }
  std::shared_ptr<PositionMethod> make(const ModelConfig& model) const override {
    return std::make_shared<SoftmaxPosition>(model);
  }
};

}  // namespace

std::unique_ptr<PositionSettings> none_position() { return std::make_unique<NoneSettings>(); }

}  // namespace rse
