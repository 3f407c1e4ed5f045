#!/usr/bin/env python3
"""Compares the training step with PyTorch's: Hugging Face BertForMaskedLM, a plain encoder, and rse-bench step.

    bench_peers.py [--small] [--python PYTHON] [--bin DIR] [--rounds N] [--steps N] [--warmup N] [--lengths N,...]
                   [--tokens N] [--threads N] [--compile-mode MODE] [--json FILE]

Every row is measured in a process of its own, and each round runs every row once, beginning with another one, so that
clock drift and neighbours hit all rows alike. The sizes are BERT-base's (12 layers of 768, 12 heads, 30,000 pieces) in
bf16 on CUDA with 32,768 tokens per step and lengths 128, 512 and 4,096; with --small those of configs/small_*.yaml (6
layers of 384, 6 heads, 8,192 pieces) in float32 on the CPU with 4 x 512 tokens and 2 threads. Dropout is 0, and 15 % of
the tokens are targets. The rows of PyTorch are compiled (scripts/peer_step.py); RSE has the decays it starts with.

PYTHON has PyTorch, and transformers for the first row; DIR holds rse-bench. A row whose package is not installed is
listed as not run. Exit code: 0 all other rows were measured; 1 a row failed, no row of PyTorch could run, or the results
could not be written; 2 bad usage.
"""
import argparse
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASE = {"layers": 12, "width": 768, "heads": 12, "ffn_width": 3072, "vocab": 30000, "device": "cuda", "dtype": "bf16",
        "configs": "bert"}
SMALL = {"layers": 6, "width": 384, "heads": 6, "ffn_width": 1536, "vocab": 8192, "device": "cpu", "dtype": "float32",
         "configs": "small"}
ROWS = ("Hugging Face", "plain PyTorch", "rse-bench learned", "rse-bench RSE")
NEEDS = {"Hugging Face": ("torch", "transformers"), "plain PyTorch": ("torch",)}


class RowFailed(Exception):
    """A process of a row failed; the message is the end of what it said."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message}\n")


def positive(text):
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}': expected a whole number of at least 1")
    return int(text)


def positive_list(text):
    return [positive(item) for item in text.split(",")]


def parse_arguments():
    parser = Parser(prog="bench_peers.py", description="Compares training steps with PyTorch's.")
    parser.add_argument("--small", action="store_true", help="the small model on the CPU")
    parser.add_argument("--python", default=sys.executable, help="Python with PyTorch (default: the one that runs this)")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build" / "release" / "bin")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--steps", type=positive, default=30)
    parser.add_argument("--warmup", type=positive, default=8)
    parser.add_argument("--lengths", type=positive_list, help="sequence lengths with commas between them")
    parser.add_argument("--tokens", type=positive, help="tokens per step")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: 2 with --small, else LibTorch's choice)")
    parser.add_argument("--compile-mode", default="default", help="mode of torch.compile")
    parser.add_argument("--json", type=pathlib.Path, help="file for the results")
    arguments = parser.parse_args()
    arguments.lengths = arguments.lengths or ([512] if arguments.small else [128, 512, 4096])
    arguments.tokens = arguments.tokens or (2048 if arguments.small else 32768)
    arguments.threads = arguments.threads or (2 if arguments.small else 0)
    for length in arguments.lengths:
        if arguments.tokens % length:
            parser.error(f"--lengths: '{length}': expected a divisor of --tokens '{arguments.tokens}'")
    arguments.bin = arguments.bin.absolute()
    if not os.access(arguments.bin / "rse-bench", os.X_OK):
        parser.error(f"--bin: no program {arguments.bin}/rse-bench: expected the folder of a build")
    return arguments


def missing_package(python, row):
    """Returns the package that the row lacks, or None."""
    for package in NEEDS.get(row, ()):
        try:
            found = subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False).returncode == 0
        except OSError as error:
            return f"{package} ({python}: {error.strerror})"
        if not found:
            return f"{package} in {python}"
    return None


def run(command):
    environment = dict(os.environ, RSE_COMMIT=commit() or "unknown")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise RowFailed(f"exit code {done.returncode}: {lines[-1][:300]}")
    return done.stdout


@functools.cache
def commit():
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def measure_peer(row, sizes, arguments):
    name = "plain" if row == "plain PyTorch" else "huggingface"
    output = run([arguments.python, str(ROOT / "scripts" / "peer_step.py"), name, json.dumps(sizes)])
    result = json.loads(output.splitlines()[-1])
    return {"ms": statistics.median(result["ms"]), "peak_bytes": result["peak_bytes"], "version": result["torch"]}


def measure_rse(row, sizes, arguments):
    method = "learned" if row.endswith("learned") else "rse"
    settings = {"data.seq_len": sizes["seq_len"], "data.min_tokens": 1, "train.batch_size": sizes["batch"],
                "train.accumulation": 1, "train.precision": sizes["dtype"], "train.threads": sizes["threads"],
                "model.dropout": 0, "model.vocab_size": sizes["vocab"]}
    if method == "learned":
        settings["model.position.learned.max_positions"] = sizes["seq_len"]
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "step.json"
        command = [str(arguments.bin / "rse-bench"), "step", "--synthetic", "--device", sizes["device"],
                   "--config", str(ROOT / "configs" / f"{sizes['configs']}_{method}.yaml"), "--json", str(output),
                   "--steps", str(sizes["steps"]), "--warmup", str(sizes["warmup"])]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        run(command)
        result = json.loads(output.read_text(encoding="utf-8"))
    arm = result["arms"][0]
    return {"ms": arm["ms"]["median"], "peak_bytes": arm["memory_bytes"], "version": result["versions"]["libtorch"],
            "device": result["device"], "mfu": arm["mfu"]}


def measure_all(arguments, rows):
    """Returns {(row, length): [one measurement for each round]} and {(row, length): why it failed}."""
    sizes = dict(SMALL if arguments.small else BASE, steps=arguments.steps, warmup=arguments.warmup,
                 threads=arguments.threads, compile_mode=arguments.compile_mode)
    results, failures = {}, {}
    for turn in range(arguments.rounds):
        for length in arguments.lengths:
            sizes.update(seq_len=length, batch=arguments.tokens // length)
            for place in range(len(rows)):
                row = rows[(place + turn) % len(rows)]
                if (row, length) in failures:
                    continue
                measure = measure_peer if row in NEEDS else measure_rse
                try:
                    results.setdefault((row, length), []).append(measure(row, sizes, arguments))
                except RowFailed as failure:
                    failures[row, length] = str(failure)
                print(f"round {turn + 1}/{arguments.rounds}, length {length}: {row}", file=sys.stderr, flush=True)
    return results, failures


def summarize(measurements, tokens):
    """The median over rounds of each round's median, and the smallest and largest of these."""
    times = [measurement["ms"] for measurement in measurements]
    median = statistics.median(times)
    return {"ms": {"median": median, "low": min(times), "high": max(times)}, "tokens_per_second": 1e3 * tokens / median,
            "peak_bytes": measurements[-1]["peak_bytes"], "rounds": measurements}


def make_table(arguments, not_run, results, failures):
    """Returns one entry for each length and row, with its measurements or the reason why there are none."""
    table = []
    for length in arguments.lengths:
        entries = []
        for row in ROWS:
            entry = {"row": row, "seq_len": length}
            if row in not_run:
                entry["not_run"] = f"{not_run[row]} is not installed"
            elif (row, length) in failures:
                entry["not_run"] = failures[row, length]
            else:
                entry.update(summarize(results[row, length], arguments.tokens))
            entries.append(entry)
        plain = next(entry.get("tokens_per_second") for entry in entries if entry["row"] == "plain PyTorch")
        for entry in entries:
            if plain and "tokens_per_second" in entry:
                entry["over_plain"] = entry["tokens_per_second"] / plain
        table += entries
    return table


def print_table(arguments, table):
    print(f"{arguments.tokens} tokens per step; {arguments.rounds} rounds of {arguments.steps} steps after "
          f"{arguments.warmup}; ms: median of the rounds' medians [smallest, largest]")
    print(f"{'length':>6}  {'row':<18} {'ms':>10} {'':<22} {'tokens/s':>10} {'/ plain':>8} {'memory':>10}")
    for entry in table:
        begin = f"{entry['seq_len']:>6}  {entry['row']:<18}"
        if "not_run" in entry:
            print(f"{begin} not run: {entry['not_run']}")
            continue
        ms, peak = entry["ms"], entry["peak_bytes"]
        interval = f"[{ms['low']:.3f}, {ms['high']:.3f}]"
        ratio = f"{entry['over_plain']:.3f}" if "over_plain" in entry else "-"
        memory = f"{peak / 2**30:.2f} GiB" if peak else "-"
        print(f"{begin} {ms['median']:>10.3f} {interval:<22} {entry['tokens_per_second']:>10.0f} {ratio:>8} {memory:>10}")


def write_json(path, content):
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        sys.exit(f"bench_peers.py: error: cannot write {path}: {error.strerror}")


def main():
    arguments = parse_arguments()
    not_run = {row: missing for row in ROWS if (missing := missing_package(arguments.python, row))}
    rows = [row for row in ROWS if row not in not_run]
    results, failures = measure_all(arguments, rows)
    table = make_table(arguments, not_run, results, failures)
    print_table(arguments, table)
    if arguments.json:
        settings = {key: value if isinstance(value, (int, list)) else str(value) for key, value in vars(arguments).items()
                    if key != "json"}
        write_json(arguments.json, {"commit": commit(), "settings": settings,
                                    "sizes": SMALL if arguments.small else BASE, "rows": table})
    peers = [row for row, _ in results if row in NEEDS]
    return 1 if failures or not peers else 0


if __name__ == "__main__":
    sys.exit(main())
