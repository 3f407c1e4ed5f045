#!/usr/bin/env python3
"""Draws reports of examples and reads them again. They must be well-formed, self-contained, escaped and complete, with
the headlines first and the rest folded. Errors must be one line.

Usage: report_test.py EXAMPLE_PROGRAM SCRIPT PYTHON

PYTHON draws the reports. The exit code is 77 where it has no matplotlib.
"""
import base64
import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

VOID = {"meta", "img", "br"}
NAME = 'learned <tile> & "co"'  # of the example


class Page(html.parser.HTMLParser):
    """Fails on a tag that is not closed in order, and collects text, images, identifiers and links."""

    def __init__(self, source):
        super().__init__()
        self.open, self.text, self.images, self.ids, self.links, self.tags = [], [], [], [], [], set()
        self.rows = []  # of all tables: the text of each cell
        self.shown = []  # text outside <details>
        self.folded = set()  # ids inside <details>
        self.feed(source)
        self.close()
        assert not self.open, f"left open: {self.open}"
        self.text, self.shown = normal("".join(self.text)), normal("".join(self.shown))
        self.rows = [[normal(cell) for cell in row] for row in self.rows]

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.append(attributes["id"])
            self.folded |= {attributes["id"]} if "details" in self.open else set()
        for key, value in attributes.items():
            assert not key.startswith("on"), f"a script in <{tag} {key}>"
            if key in ("href", "src"):
                (self.images if tag == "img" else self.links).append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)
            if "td" in self.open:
                self.rows[-1][-1] += data
            self.shown += [data] if "details" not in self.open or "summary" in self.open else []


def normal(text):
    """Returns the text with spaces and minus signs as evaluation.json has them."""
    return " ".join(text.split()).replace("−", "-")


def report(script, python, *arguments):
    return subprocess.run([python, script, *map(str, arguments)], capture_output=True, text=True, check=False)


def draw(script, python, folder, *arguments):
    result = report(script, python, folder / "evaluation-1", *arguments)
    assert result.returncode == 0, result.stderr
    source = (folder / "evaluation-1" / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert page.tags.isdisjoint({"script", "iframe", "link", "object", "embed"}), page.tags
    assert "http:" not in source and "https:" not in source and "@import" not in source
    assert not page.links, f"a report stands alone and links to nothing: {page.links}"
    for image in page.images:
        kind, data = image.split(",", 1)
        assert kind == "data:image/svg+xml;base64", kind
        picture = base64.b64decode(data).decode()
        assert picture.rstrip().endswith("</svg>") and "<script" not in picture
    return page


def check_example(example, script, python, folder, seeds, documents):
    subprocess.run([example, folder, str(seeds), str(documents)], check=True)
    page = draw(script, python, folder)
    evaluation = json.loads((folder / "evaluation-1" / "evaluation.json").read_text(encoding="utf-8"))
    for section in ("findings", "control", "results", "comparisons", "edges", "decay", "costs", "training", "protocol",
                    "configuration"):
        assert section in page.folded, section
    for section in ("headlines", "length"):
        assert section in page.ids and section not in page.folded, section
    headlines = evaluation["headlines"]
    for sentence in [headline["text"] for headline in headlines["arms"]] + [headlines["between_arms"], headlines["scope"]]:
        assert sentence and normal(sentence) in page.shown, sentence
    assert normal(evaluation["findings"][-1]) not in page.shown
    assert len(page.images) == 5, len(page.images)
    assert NAME in page.text and "<script>alert(1)</script>" in page.text
    for sentence in evaluation["findings"]:
        assert normal(sentence) in page.text, sentence
    rse = next(arm for arm in evaluation["arms"] if arm["arm"] == "rse")
    for row in rse["results"]:
        assert f"{row['nll']['mean']:.4f}" in page.text, row["nll"]
    assert re.search(r"not enough seeds|too few seeds", page.text)
    return page


def signed(estimate):
    """Returns a difference and its interval as a cell has them."""
    numbers = [f"{value:+.{4 if abs(value) < 0.1 else 3}f}" for value in estimate.values()]
    return f"{numbers[0]}[{numbers[1]}, {numbers[2]}]"


def check_tables(script, python, folder):
    """Every figure of the tables stands in its row and its column. All figures differ."""
    path = folder / "evaluation-1" / "evaluation.json"
    before = path.read_text(encoding="utf-8")
    evaluation = json.loads(before)
    for i, row in enumerate(evaluation["comparisons"]):
        row.update({"difference": {"mean": 0.01 * i + 0.2, "low": 0.01 * i - 0.3, "high": 0.01 * i + 0.4}, "p": (i + 1) / 1000,
                    "p_holm": (i + 1) / 100, "smallest_p_holm": (i + 1) / 5000, "detectable": (i + 1) / 70,
                    "verdict": f"verdict {i}"})
    for i, cost in enumerate(evaluation["costs"]):
        cost.update({"step_ms_median": 15.25 + i, "step_ms_interquartile_range": 0.5 + i, "tokens_per_second": 2e6 + 1e5 * i,
                     "mfu": 0.1 + 0.01 * i, "memory_bytes": (i + 1) << 30, "parameters": 1000 + i,
                     "position_parameters": 100 + i, "decay_parameters": 10 + i, "table_bytes": (i + 1) << 10,
                     "flop_per_token": 9e7 + 1e7 * i})
    path.write_text(json.dumps(evaluation), encoding="utf-8")
    rows = draw(script, python, folder).rows
    path.write_text(before, encoding="utf-8")
    expected = [[normal(f"{row['first']} - {row['second']}"), f"{row['length']:,}", str(len(row["seeds"])),
                 signed(row["difference"]), f"{row['p']:.3g}", f"{row['p_holm']:.3g}", f"{row['smallest_p_holm']:.3g}",
                 f"{row['detectable']:.3g}", row["verdict"]] for row in evaluation["comparisons"]]
    expected += [[normal(cost["arm"]), f"{15.25 + i:.2f} ({0.5 + i:.2f})", f"{2 + 0.1 * i:.3g} M", f"{10 + i}.0 %", f"{i + 1} GiB",
                  f"{1000 + i:,}", str(100 + i), str(10 + i), f"{i + 1} KiB", f"{90 + 10 * i} M"]
                 for i, cost in enumerate(evaluation["costs"])]
    for arm in evaluation["arms"]:
        full, control = ([row for row in arm["results"] if row["attention"] == kind] for kind in ("full", "control"))
        for row, beside in zip(full[1:], control[1:]):
            level = [f"{one['nll']['mean']:.4f}[{one['nll']['low']:.4f}, {one['nll']['high']:.4f}]" for one in (row, beside)]
            expected.append([normal(arm["arm"]), str(len(arm["seeds"])), f"{row['length']:,}", level[0],
                             signed(row["difference"]), level[1], signed(beside["difference"]), signed(row["over_control"]),
                             f"{row['seconds'] + beside['seconds']:,.1f}"])
    for cells in expected:
        assert cells in rows, (cells, rows)


def check_without(script, python, folder):
    """Without metrics, control and decay, and with one length, the sections must say so."""
    (folder / "metrics.jsonl").unlink()
    path = folder / "evaluation-1" / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    evaluation["decay"] = []
    evaluation["protocol"]["control_window"] = None
    for arm in evaluation["arms"] + evaluation["replicas"]:
        arm["results"] = [dict(arm["results"][0], over_control=None)]
    path.write_text(json.dumps(evaluation), encoding="utf-8")
    page = draw(script, python, folder)
    for sentence in ("no metrics.jsonl", "The control was not evaluated", "No arm has a decay"):
        assert sentence in page.text, sentence
    assert len(page.images) == 2, len(page.images)


def check_before_headlines(script, python, folder):
    """An evaluation that was written without headlines shows every finding in their place."""
    path = folder / "evaluation-1" / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    del evaluation["headlines"]
    path.write_text(json.dumps(evaluation), encoding="utf-8")
    page = draw(script, python, folder)
    for sentence in evaluation["findings"]:
        assert normal(sentence) in page.shown, sentence


def check_warnings(script, python, folder):
    """Warnings of the texts are shown before everything else, escaped; an evaluation without overlap has no such row."""
    path = folder / "evaluation-1" / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    assert evaluation["headlines"]["warnings"] == []
    assert evaluation["overlap"]["in_words"] in draw(script, python, folder).text
    evaluation["headlines"]["warnings"] = ["The texts are <those> of training.", "Others, too."]
    del evaluation["overlap"]
    path.write_text(json.dumps(evaluation), encoding="utf-8")
    page = draw(script, python, folder)
    for warning in evaluation["headlines"]["warnings"]:
        assert f"Warning: {warning}" in page.shown, warning
        assert page.shown.index(warning) < page.shown.index(normal(evaluation["headlines"]["arms"][0]["text"]))
    assert "not looked for" in page.text


def check_errors(script, python, folder):
    empty = folder / "empty"
    empty.mkdir()
    broken = folder / "broken"
    broken.mkdir()
    (broken / "evaluation.json").write_text("{", encoding="utf-8")
    strange = folder / "strange"
    strange.mkdir()
    (strange / "evaluation.json").write_text('{"format": 7}', encoding="utf-8")
    lacking = folder / "lacking"
    lacking.mkdir()
    (lacking / "evaluation.json").write_text('{"format": 1}', encoding="utf-8")
    evaluation = folder / "evaluation-1"
    run = folder / "bad_run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"type": "decay"}\nnot json\n', encoding="utf-8")
    for arguments, part in (
            ((empty,), f"cannot read {empty}/evaluation.json: No such file"), ((broken,), "not JSON"),
            ((strange,), "format 7; expected 1"), ((lacking,), "not as expected: KeyError"),
            ((evaluation, "--run", folder / "nowhere"), "not a folder"), ((evaluation, "--run", run), "metrics.jsonl:2"),
            ((evaluation, "--output", folder / "nowhere" / "r.html"), f"cannot write {folder}/nowhere/r.html")):
        result = report(script, python, *arguments)
        lines = result.stderr.strip().split("\n")
        assert result.returncode == 2 and len(lines) == 1 and part in lines[0], (arguments, result.returncode, result.stderr)
    left = [path.name for path in folder.rglob("*") if path.name.startswith(".")]
    assert not left, left


def main(example, script, python):
    found = subprocess.run([python, "-c", "import matplotlib"], capture_output=True, check=False)
    if found.returncode != 0:
        print(f"{python} has no matplotlib")
        return 77
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        os.environ["MPLCONFIGDIR"] = str(root / "mpl")
        page = check_example(example, script, python, root / "three", 3, 9)
        assert "over seeds and documents" in page.text
        check_tables(script, python, root / "three")
        figures = root / "figures"
        check_example(example, script, python, root / "one", 1, 1)
        draw(script, python, root / "one", "--figures", figures)
        assert len(list(figures.glob("*.pdf"))) == 5 and len(list(figures.glob("*.png"))) == 5
        check_errors(script, python, root / "one")
        check_without(script, python, root / "one")
        check_warnings(script, python, root / "three")
        check_before_headlines(script, python, root / "three")
    return 0


sys.exit(main(*sys.argv[1:]))
