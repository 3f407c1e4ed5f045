// Finds the evaluated documents among those that a run was trained and validated on.
#pragma once

#include <cstdint>
#include <vector>

#include "analysis/data_overlap.h"
#include "data/token_file.h"
#include "run/trained_run.h"

namespace rse {

// documents: those of `file` that are evaluated, in any order, some perhaps several times. The run's token files are
// read where they are still there with the content that the run knows, by the path in the run's configuration, from the
// current folder or from one around the run. Documents count as equal where length and XXH64 of their tokens are,
// [CLS] at the beginning and [SEP] at the end left out. Only documents of a length and a beginning that an evaluated one has are read whole.
DataOverlap find_overlap(const TrainedRun& run, const TokenFile& file, const std::vector<int64_t>& documents);

}  // namespace rse
