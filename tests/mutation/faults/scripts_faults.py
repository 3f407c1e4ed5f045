"""Faults of the scripts that draw reports."""
from planting import Fault

FAULTS = [
    Fault("scripts.report_mfu_twice", "scripts/report_html.py", "f\"{«100 * cost['mfu']»:.1f} %\"", "200 * cost['mfu']",
          "The report's table of costs says twice the MFU."),
    Fault("scripts.report_p_uncorrected", "scripts/report_html.py", "f\"{«row['p_holm']»:.3g}\"", "row['p']",
          "The report's column of p after Holm's correction holds p before it."),
    Fault("scripts.report_pair_swapped", "scripts/report_html.py", "f\"{«row['first']»} − {row['second']}\"", "row['second']",
          "The report names one arm twice in a comparison."),
    Fault("scripts.report_verdict_of_first_row", "scripts/report_html.py",
          '«row["verdict"]»]', "evaluation['comparisons'][0]['verdict']",
          "Every comparison in the report has the first one's verdict."),
    Fault("scripts.report_control_swapped", "scripts/report_html.py",
          "change(«row[\"over_control\"]»)", "row[\"difference\"]",
          "The report's column of full minus control holds the change from the trained length."),
    Fault("scripts.report_interval_bounds", "scripts/report_html.py",
          "f\"[{«write(estimate['low'])»}, {write(estimate['high'])}]\"", "write(estimate['mean'])",
          "The report's intervals begin at the mean."),
]
