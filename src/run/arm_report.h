// What the model of an arm costs in a run of given settings: the bridge from a run's configuration to
// nn/model_report.h.
#pragma once

#include <cstdint>

#include "nn/model_report.h"
#include "run/run_config.h"

namespace rse {

// What the model of an arm costs in a run of `settings`, one micro-batch at a time.
ModelReport report_arm(const EncoderImpl& encoder, const RunSettings& settings);

// Raw decay parameters of the model.
int64_t decay_parameters(const ModelReport& report);

}  // namespace rse
