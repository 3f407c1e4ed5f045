"""Faults of src/bench: what rse-bench step says of a step."""
from planting import Fault

FAULTS = [
    Fault("bench.outside_window_counts", "src/bench/timeline.cpp", "const int64_t from = «std::max(now, window.begin)»,",
          "now", "Time before the window of a profile counts as time in it."),
    Fault("bench.head_lost_in_backward", "src/bench/profile.cpp",
          "if («event.node && recording.head_sequences.contains(event.sequence)») names.emplace_back(kHeadRange);", "false",
          "The head's products count as GEMM in backward."),
    Fault("bench.first_step_profiled", "src/bench/profile.cpp", "return account(all, {ranges[«1»]->span.begin,", "0",
          "A profile counts the step that fills the queue."),
    Fault("bench.calls_of_all_steps", "src/bench/profile.cpp", "item.second.calls /= «static_cast<double>(steps)»;", "1.0",
          "A profile says the calls of all its steps as those of one."),
    Fault("bench.rate_of_best_step", "src/bench/step_report.h", "return 1e3 * tokens_per_step / «ms.median»;", "ms.low",
          "Tokens per second are those of the fastest steps."),
    Fault("bench.mfu_of_forward", "src/bench/step_report.cpp",
          "return tokens_per_second() * «cost.flop_per_token» / peak_flops;", "cost.flop_per_token / 3",
          "MFU counts forward alone."),
    Fault("bench.one_seed_of_random_ids", "src/bench/step_data.cpp", "mix_key(«seed», \"rse-bench step\")", "uint64_t{1}",
          "--seed changes nothing."),
]
