// The cost of an arm's model in a run of given settings. It leads from a run's configuration to
// nn/model_report.h and nn/memory_estimate.h.
#pragma once

#include <cstdint>

#include "nn/memory_estimate.h"
#include "nn/model_report.h"
#include "run/run_config.h"

namespace rse {

// The cost of `encoder` in a run of `settings`.
ModelReport report_arm(const EncoderImpl& encoder, const RunSettings& settings);

// The memory of its updates on `device`, for micro-batches whose sequences have these lengths.
MemoryEstimate estimate_arm(const EncoderImpl& encoder, const RunSettings& settings,
                            const std::vector<int64_t>& lengths, int64_t targets,
                            const torch::Device& device);

// The number of raw decay parameters of the model.
int64_t decay_parameters(const ModelReport& report);

}  // namespace rse
