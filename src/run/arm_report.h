// The cost of an arm's model in a run of given settings. It leads from a run's configuration to
// nn/model_report.h.
#pragma once

#include <cstdint>

#include "nn/model_report.h"
#include "run/run_config.h"

namespace rse {

// The cost of `encoder` in a run of `settings`, for one micro-batch at a time.
ModelReport report_arm(const EncoderImpl& encoder, const RunSettings& settings);

// The number of raw decay parameters of the model.
int64_t decay_parameters(const ModelReport& report);

}  // namespace rse
