#!/usr/bin/env python3
"""Draws the report of an evaluation: one HTML file that needs neither a network nor scripts.

    report.py EVALUATION_FOLDER [--run RUN]... [--output FILE] [--figures DIR]

EVALUATION_FOLDER holds evaluation.json, as rse-eval writes it (src/analysis/evaluation_json.h lists its keys). RUN is a run
folder with metrics.jsonl for the training curves. It is given once for each run whose seeds were combined, and defaults
to the folder that holds EVALUATION_FOLDER. FILE defaults to EVALUATION_FOLDER/report.html. --figures also writes each
figure as PDF and PNG.

The script needs matplotlib (scripts/requirements-report.txt). An error is one line on stderr, with exit code 2.
"""
import argparse
import json
import os
import pathlib
import sys
import tempfile

FORMAT = 1


class InputError(Exception):
    """An error of the input, in one line that names the file and what was expected."""


def read_evaluation(folder):
    path = folder / "evaluation.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        evaluation = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(evaluation, dict) or evaluation.get("format") != FORMAT:
        found = evaluation.get("format") if isinstance(evaluation, dict) else type(evaluation).__name__
        raise InputError(f"{path}: format {found!r}; expected {FORMAT}")
    return evaluation


def read_metrics(run):
    """Returns {"update" | "validation": {(arm, seed): [(step, value)]}} in order of steps, or None where the run has no
    metrics.jsonl. Where a resumed run repeated a step, its last line counts. A last line that was cut off while it was
    written is left out."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        return None
    keys = {"update": "loss", "validation": "nll"}
    curves = {kind: {} for kind in keys}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                if row["type"] in keys:
                    curve = curves[row["type"]].setdefault((row["arm"], row["seed"]), {})
                    curve[row["step"]] = row[keys[row["type"]]]
            except (ValueError, KeyError, TypeError) as error:
                if not line.endswith("\n"):
                    break
                raise InputError(f"{path}:{number}: not a line of metrics: {type(error).__name__}: {error}") from error
    return {kind: {replica: sorted((step, value) for step, value in curve.items() if value is not None)
                   for replica, curve in replicas.items()} for kind, replicas in curves.items()}


def join_metrics(runs):
    """Returns the curves of all runs together, or None where no run has any."""
    runs = [curves for curves in runs if curves is not None]
    if not runs:
        return None
    return {kind: {replica: curve for curves in runs for replica, curve in curves[kind].items()} for kind in runs[0]}


def write_atomically(path, content):
    """Writes the file either completely or not at all."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def write_figures(figures, folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create {folder}: {error.strerror}") from error
    for name, figure in figures.items():
        for suffix in ("pdf", "png"):
            write_atomically(folder / f"{name}.{suffix}", figure.render(suffix))


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog="report.py", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("evaluation", type=pathlib.Path, metavar="EVALUATION_FOLDER")
    parser.add_argument("--run", type=pathlib.Path, action="append",
                        help="run folder with metrics.jsonl (repeatable); default: the folder that holds EVALUATION_FOLDER")
    parser.add_argument("--output", type=pathlib.Path, help="default: EVALUATION_FOLDER/report.html")
    parser.add_argument("--figures", type=pathlib.Path, metavar="DIR", help="also write each figure here, as PDF and PNG")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse_arguments(arguments)
    folder = options.evaluation
    evaluation = read_evaluation(folder)
    for run in options.run or []:
        if not run.is_dir():
            raise InputError(f"--run {run}: not a folder")
    metrics = join_metrics([read_metrics(run) for run in options.run or [folder.resolve().parent]])
    try:
        import report_figures  # pylint: disable=import-outside-toplevel
        import report_html  # pylint: disable=import-outside-toplevel
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("report_"):
            raise
        raise InputError(f"{sys.executable} has no {error.name}; install it with: {sys.executable} -m pip install -r "
                         f"{pathlib.Path(__file__).resolve().parent / 'requirements-report.txt'}") from error
    try:
        figures = report_figures.draw_all(evaluation, metrics)
        page = report_html.page(evaluation, figures, metrics is not None)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{folder / 'evaluation.json'}: not as expected: {type(error).__name__}: {error}") from error
    if options.figures:
        write_figures(figures, options.figures)
    output = options.output or folder / "report.html"
    write_atomically(output, page.encode("utf-8"))
    print(output)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(print(f"report: error: {error}", file=sys.stderr) or 2)
