#include "run/arm_report.h"

namespace rse {

ModelReport report_arm(const EncoderImpl& encoder, const RunSettings& settings) {
  ReportSettings report;
  report.seq_len = settings.data.seq_len;
  report.tokens = settings.train.batch_size * settings.data.seq_len;
  report.target_share = settings.data.mask.probability;
  report.bf16 = settings.train.precision == Precision::kBf16;
  return report_model(encoder, report);
}

int64_t decay_parameters(const ModelReport& report) {
  for (const ParameterGroup& group : report.groups) {
    if (group.name == "decay") return group.parameters;
  }
  return 0;
}

}  // namespace rse
