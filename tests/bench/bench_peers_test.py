#!/usr/bin/env python3
"""Tests scripts/bench_peers.py with stand-ins for Python's and for rse-bench: bench_peers_test.py ROOT.

The stand-ins write down the order in which they are called, and say known times, so that the table can be worked out by
hand.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1]).resolve()
PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then case "$2" in *torch*) exit 0;; *) exit 1;; esac; fi
echo "$2" >> calls
case "$(cat mode)" in *broken*) echo 'no memory' >&2; exit 1;; esac
echo '{"ms": [30.0, 10.0, 20.0], "peak_bytes": 1073741824, "torch": "2"}'
"""
BENCH = """#!/bin/sh
echo "$*" >> arguments
case "$*" in *learned*) echo learned >> calls; ms=10;; *) echo rse >> calls; ms=40;; esac
while [ "$1" != --json ]; do shift; done
echo "{\\"arms\\": [{\\"ms\\": {\\"median\\": $ms}, \\"memory_bytes\\": null, \\"mfu\\": null}],
\\"versions\\": {\\"libtorch\\": \\"2\\"}, \\"device\\": \\"CPU\\"}" > "$2"
"""


def run(folder, *arguments):
    command = [sys.executable, str(ROOT / "scripts" / "bench_peers.py"), "--python", "./python", "--bin", ".", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def check(condition, what, done):
    if not condition:
        sys.exit(f"{what}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")


def test(folder):
    for name, text in (("python", PYTHON), ("rse-bench", BENCH)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "mode").write_text("")
    done = run(folder, "--small", "--rounds", "2", "--tokens", "100", "--lengths", "50", "--json", "out.json")
    check(done.returncode == 0, "a package that is not installed is no failure", done)
    check("Hugging Face       not run: transformers in ./python is not installed" in done.stdout, "the missing row", done)
    calls = (folder / "calls").read_text().split()
    check(calls == ["plain", "learned", "rse", "learned", "rse", "plain"], f"rounds take turns: {calls}", done)
    rows = {row["row"]: row for row in json.loads((folder / "out.json").read_text())["rows"]}
    plain, learned, rse = rows["plain PyTorch"], rows["rse-bench learned"], rows["rse-bench RSE"]
    check(plain["ms"]["median"] == 20 and plain["tokens_per_second"] == 5000, f"plain: {plain}", done)
    check(learned["over_plain"] == 2 and rse["over_plain"] == 0.5, f"ratios: {learned}, {rse}", done)
    check("not_run" in rows["Hugging Face"], "JSON names the missing row", done)
    arguments = (folder / "arguments").read_text()
    for part in ("small_learned.yaml", "data.seq_len=50", "train.batch_size=2", "model.vocab_size=8192", "--device cpu"):
        check(part in arguments, f"{part} in {arguments}", done)

    (folder / "mode").write_text("broken")
    done = run(folder, "--small", "--rounds", "2", "--tokens", "100", "--lengths", "50")
    check(done.returncode == 1 and "plain PyTorch      not run: exit code 1: no memory" in done.stdout, "a failed row", done)
    for arguments, part in ((("--rounds", "0"), "'0'"), (("--lengths", "3", "--tokens", "10"), "'3'"), (("--bin", "x"), "/x/")):
        done = run(folder, *arguments)
        check(done.returncode == 2 and part in done.stderr and done.stderr.count("\n") == 1, f"{arguments}", done)


with tempfile.TemporaryDirectory() as scratch:
    test(pathlib.Path(scratch))
