"""Runs tests of the planted build, and says which test notices a fault.

Tests are named "program" or "program:filter": all cases of the test program rse_PROGRAM_tests, or those that a
--gtest_filter selects; "ctest:name": the ctest entries whose names match a regular expression. A program's cases run in
one process, and end at the first that fails; those whose names begin with Gpu run only for faults that need a GPU.
"""
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

# For a fault of the layer: the test programs of the layer and of those above it.
ABOVE = {
    "core": ["core", "formats", "analysis", "data", "run", "nn", "eval", "train", "apps"],
    "kernels": ["ops", "nn", "train"],
    "ops": ["ops", "nn", "train", "ctest:^ops[.]opcheck$"],
    "nn": ["nn", "run", "eval", "train"],
    "data": ["data", "eval", "train", "apps"],
    "formats": ["formats", "run", "train"],
    "analysis": ["analysis", "eval", "eval_program", "ctest:^Report[.]"],
    "run": ["run", "eval", "train", "apps", "eval_program"],
    "eval": ["eval", "train", "eval_program"],
    "train": ["train", "eval", "apps"],
    "bench": ["bench", "bench_program"],
    "scripts": ["ctest:^Report[.]"],
}
# Targets of tests that are no test program.
CTEST_TARGETS = {"ctest:^ops[.]opcheck$": ["rse_ops"], "ctest:^Report[.]": ["rse_report_example"]}
NO_GPU = "Gpu*:*/Gpu*"
LONGEST_DEFAULT = 120.0  # seconds beyond which a test hangs, beside ten times what it takes without a fault


@dataclasses.dataclass
class Outcome:
    noticed_by: str  # empty where all tests passed
    seconds: float
    cases: int       # that passed


def with_gpu_cases(spec):
    """The GPU's cases among those of a program."""
    return spec if ":" in spec else f"{spec}:{NO_GPU}"


def tests_of(fault, seconds):
    """The fault's own tests, then those of its layer and above, quickest first. seconds: of each test (may be empty)."""
    above = ABOVE[fault.layer]
    if fault.gpu:
        above = [with_gpu_cases(spec) for spec in above if not spec.startswith("ctest:")]
    own = [with_gpu_cases(spec) if fault.gpu else spec for spec in fault.tests]
    rest = sorted((spec for spec in above if spec not in own), key=lambda spec: seconds.get(spec, 0.0))
    return own + rest


def targets_of(specs):
    targets = set()
    for spec in specs:
        if spec.startswith("ctest:"):
            targets.update(CTEST_TARGETS.get(spec, []))
        else:
            targets.add(f"rse_{spec.split(':')[0]}_tests")
    return sorted(targets)


def command_of(build, spec, gpu):
    if spec.startswith("ctest:"):
        return ["ctest", "--test-dir", str(build), "--output-on-failure", "-R", spec.split(":", 1)[1]]
    program, _, chosen = spec.partition(":")
    chosen = chosen or "*"
    without = "" if gpu else ("" if "-" in chosen else "-") + (":" if "-" in chosen else "") + NO_GPU
    return [str(build / "bin" / f"rse_{program}_tests"), "--gtest_fail_fast", "--gtest_color=no",
            f"--gtest_filter={chosen}{without}"]


def end_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def first_failure(text, code, limit):
    """The name of the first failing case in the output of a test program or of ctest; empty where none failed."""
    failed = re.search(r"^\[  FAILED  \] ([^\s,]+)", text, re.MULTILINE)
    if failed and re.search(r"\.", failed.group(1)):
        return failed.group(1)
    failed = re.search(r"^\s*\d+/\d+ Test\s+#\d+: (\S+) \.+.*(?:\*\*\*|Failed)", text, re.MULTILINE)
    if failed and code != 0:
        return failed.group(1)
    if code == 0:
        return ""
    started = re.findall(r"^\[ RUN      \] (\S+)", text, re.MULTILINE)
    where = started[-1] if started else "(before its first case)"
    if code is None:
        return f"{where} (no end within {limit:.0f} s)"
    return f"{where} (ended by signal {-code})" if code < 0 else f"{where} (exit code {code})"


def run_test(build, spec, fault, limit, gpu=False):
    """Runs one test with RSE_FAULT=fault ("": none) in folders of its own."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rse_mutation_"))
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "RSE_FAULT": fault}
    if not fault:
        del environment["RSE_FAULT"]
    start = time.monotonic()
    try:
        with open(folder / "output", "w+b") as output:
            process = subprocess.Popen(command_of(build, spec, gpu), stdout=output, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, cwd=folder, env=environment, start_new_session=True)
            try:
                code = process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                code = None
            end_group(process)  # programs that it started may still run
            output.seek(0)
            text = output.read().decode(errors="replace")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    cases = len(re.findall(r"^\[       OK \] |^\s*\d+/\d+ Test\s+#.* Passed ", text, re.MULTILINE))
    return Outcome(first_failure(text, code, limit), time.monotonic() - start, cases)


def limit_of(spec, seconds):
    return LONGEST_DEFAULT + 10 * seconds.get(spec, 60.0)


def try_fault(build, fault, seconds):
    """Runs the fault's tests until one notices it."""
    start = time.monotonic()
    for spec in tests_of(fault, seconds):
        outcome = run_test(build, spec, fault.name, limit_of(spec, seconds), fault.gpu)
        if outcome.noticed_by:
            return Outcome(f"{spec.split(':')[0]}: {outcome.noticed_by}", time.monotonic() - start, outcome.cases)
    return Outcome("", time.monotonic() - start, 0)
