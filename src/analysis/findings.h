// An analysis in words, complete: what the report lists and evaluation.json keeps. No Torch.
//
// Every sentence says no more than the numbers allow: what it rests on (documents, or seeds and documents),
// the interval, and where there is none, why.
#pragma once

#include <string>
#include <vector>

#include "analysis/analysis.h"

namespace rse {

// In this order: warnings of the texts; what holds for the whole report (one document, few documents or seeds); for each arm:
// plateau, beyond the trained length, against the control, at edges; between arms: verdicts or "not enough
// seeds".
std::vector<std::string> findings(const Analysis& analysis);

}  // namespace rse
