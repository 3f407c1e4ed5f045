#include "run/arm_report.h"

namespace rse {

ModelReport report_arm(const EncoderImpl& encoder, const RunSettings& settings) {
  ReportSettings report;
  report.seq_len = settings.data.seq_len;
  report.target_share = settings.data.mask.probability;
  return report_model(encoder, report);
}

MemoryEstimate estimate_arm(const EncoderImpl& encoder, const RunSettings& settings,
                            const std::vector<int64_t>& lengths, int64_t targets,
                            const torch::Device& device) {
  StepShape shape;
  shape.batch = {lengths, settings.train.precision == Precision::kBf16 ? torch::kBFloat16 : torch::kFloat32,
                 device};
  shape.targets = targets;
  shape.recompute = settings.train.recompute;
  shape.accumulates = settings.train.accumulation > 1;
  return estimate_memory(encoder, shape);
}

int64_t decay_parameters(const ModelReport& report) {
  for (const ParameterGroup& group : report.groups) {
    if (group.name == "decay") return group.parameters;
  }
  return 0;
}

}  // namespace rse
