// An analysis in words and as a table for the terminal. No Torch.
//
// Every sentence says no more than the numbers allow: what it rests on (documents, or seeds and documents),
// the interval, and where there is none, why.
#pragma once

#include <string>
#include <vector>

#include "analysis/analysis.h"

namespace rse {

// In this order: what holds for the whole report (one document, few documents or seeds); for each arm:
// plateau, beyond the trained length, against the control, at edges; between arms: verdicts or "not enough
// seeds".
std::vector<std::string> findings(const Analysis& analysis);

// One row an (arm, seed, length): NLL, difference to the trained length [interval], the control's NLL, full
// minus control [interval]; then findings(), one a line. No line feed at the end.
std::string result_table(const Analysis& analysis);

}  // namespace rse
