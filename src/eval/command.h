// rse-eval as a function: from flags to an exit code.
#pragma once

#include "eval/plan.h"

namespace rse {

// Measures, prints the summary, makes the folder (eval/evaluation_folder.h), draws the report. Everything that
// can be checked is checked before anything is computed; models are loaded one at a time. Returns kExitOk, or
// kExitFailure where --output's folder appeared meanwhile and the results are in another, which the log names.
// Throws UserError, and std::runtime_error where only the report could not be drawn: the results are complete
// then.
int run_eval_command(const EvalCommand& command);

}  // namespace rse
