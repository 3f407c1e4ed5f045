// What rse-eval prints at its end: a table and three to five sentences that fit one screen; the report holds
// the rest. No Torch.
#pragma once

#include <cstddef>
#include <string>

#include "analysis/analysis.h"

namespace rse {

// The lines of terminal_summary() with the two that rse-eval logs after it fit 25.
inline constexpr size_t kSummaryLines = 23;
inline constexpr size_t kSummaryColumns = 100;

// Warnings of the texts; a caption; one row per arm, mean over its seeds, columns are lengths, with a row for its control where
// there is room; the entropy and what the report adds; sentences, wrapped. At most kSummaryLines lines of at
// most kSummaryColumns columns. Where not all lengths fit, those shown are the trained one, the longest, and
// the powers of 2 (else of 4, of 8, ...) of the trained one between. No line feed at the end.
std::string terminal_summary(const Analysis& analysis);

}  // namespace rse
