#!/usr/bin/env python3
"""Fails where a source, script, configuration or document cites what is not there.

Usage: check_citations.py ROOT     checks every text file of the tree at ROOT
       check_citations.py --self-test   plants dangling citations in a temporary tree and expects them to be found

It checks that
  - a document named by its path ("data/README.md") exists, relative to ROOT or to the citing file's folder;
  - a document has a heading "## N." for each section cited ("src/ops/README.md sections 1, 3 and 5", also over a line
    break);
  - a file that cites sections without a document ("section 3") is that document, or names it elsewhere;
  - no file cites "the spec", because no such document is in the tree;
  - the targets of relative links in Markdown files exist, their anchors included;
  - the file of `path/file.cpp:name` in Markdown files exists and holds the name.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".inc", ".py", ".sh", ".yaml", ".yml", ".md", ".txt", ".cmake", ".json"}
COMMENT = re.compile(r"^[ \t]*(?://+|#+|\*)?[ \t]*")
URL = re.compile(r"https?://[^\s)>\"]+")
# "section 3", "sections 1, 3 and 5", "sections 1 to 5"
NUMBERS = r"(?:sections\s+(?P<many>\d+(?:(?:,\s*and\s+|,\s*|\s+and\s+|\s+to\s+)\d+\b)*)|section\s+(?P<one>\d+))"
DOCUMENT = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.md\b")
CITATION = re.compile(r"(?P<document>[\w.-]+(?:/[\w.-]+)*\.md)[`)]*,?\s+" + NUMBERS)
BARE = re.compile(r"(?<![\w.-])" + NUMBERS.replace("section", "[Ss]ection") + r"(?!\.\d)")
PAPER = re.compile(r"(?:\d{4}|et al\.)[,)]*\s*$")
SPEC = re.compile(r"\bspec(?:ification)?\s+sections?\b|\b(?:the|this)\s+spec\b|\bspec/", re.IGNORECASE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PLACE = re.compile(r"`([\w.-]+(?:/[\w.-]+)*\.\w+):(\w+)`")


def text_files(root):
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        paths = [root / name for name in listed.stdout.decode().split("\0") if name]
    else:  # not a clone: takes all but build folders and hidden files
        paths = [path for path in root.rglob("*")
                 if not any(part == "build" or part.startswith(".") for part in path.relative_to(root).parts)]
    return sorted(path for path in paths if path.suffix in SUFFIXES and path.is_file())


def plain(text):
    """Returns `text` with the comment marks of its lines blanked, so that a sentence may span lines. Offsets stay."""
    lines = [COMMENT.sub(lambda mark: " " * len(mark.group()), line) for line in text.split("\n")]
    return URL.sub(lambda url: " " * len(url.group()), "\n".join(lines))


def headings(document):
    return {int(number) for number in re.findall(r"^## (\d+)\.", document.read_text(), re.MULTILINE)}


def anchors(document):
    titles = re.findall(r"^#+ +(.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def numbers_of(match):
    found = []
    for first, last in re.findall(r"(\d+)(?:\s+to\s+(\d+))?", match["many"] or match["one"]):
        found += range(int(first), int(last or first) + 1)
    return found


class Citing:
    """The citations of one file."""

    def __init__(self, root, path):
        self.root, self.path = root, path
        self.raw = path.read_text(errors="replace")
        self.text = plain(self.raw)

    def find(self, name):
        candidates = [self.path.parent / name, self.root / name]
        return next((place for place in candidates if place.is_file()), None)

    def at(self, offset, message):
        return f"{self.path.relative_to(self.root)}:{self.text.count(chr(10), 0, offset) + 1}: {message}"

    def problems(self):
        cited = {self.path} if self.path.suffix == ".md" else set()
        for match in DOCUMENT.finditer(self.text):
            document = self.find(match.group())
            if document is None:
                yield self.at(match.start(), f"{match.group()}: no such document")
            else:
                cited.add(document)
        taken = []
        for match in CITATION.finditer(self.text):
            taken.append(match.span())
            document = self.find(match["document"])
            if document is not None:
                yield from self.missing(match, {document}, match["document"])
        for match in BARE.finditer(self.text):
            inside = any(begin <= match.start() < end for begin, end in taken)
            if not inside and not PAPER.search(self.text[:match.start()].rstrip()):
                yield from self.missing(match, cited, "what this file cites")
        for match in SPEC.finditer(self.text):
            yield self.at(match.start(), f"'{' '.join(match.group().split())}': expected the name of a document of the tree")
        if self.path.suffix == ".md":
            yield from self.links()
            yield from self.places()

    def missing(self, match, documents, name):
        known = set().union(*(headings(document) for document in documents)) if documents else set()
        for number in numbers_of(match):
            if number not in known:
                yield self.at(match.start(), f"section {number}: {name} has no heading '## {number}.'")

    def links(self):
        for match in LINK.finditer(self.raw):
            target, _, anchor = match.group(1).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            place = self.path.parent / target if target else self.path
            if not place.exists():
                yield self.at(match.start(), f"link to {target}: no such file")
            elif anchor and anchor not in anchors(place):
                yield self.at(match.start(), f"link to {match.group(1)}: no such heading")

    def places(self):
        for match in PLACE.finditer(self.raw):
            source = self.find(match.group(1))
            if source is None:
                yield self.at(match.start(), f"{match.group(1)}: no such file")
            elif not re.search(rf"\b{match.group(2)}\b", source.read_text(errors="replace")):
                yield self.at(match.start(), f"{match.group(1)} does not hold {match.group(2)}")


def violations(root):
    itself = pathlib.Path(__file__).resolve()
    for path in text_files(root):
        if path.resolve() != itself:
            yield from Citing(root, path).problems()


DANGLING = {  # a file's text, and how many of its citations are dangling
    "src/a.h": ("// See docs/none.md.\n", 1),
    "src/b.h": ("// As docs/rules.md section 1 has it, and docs/rules.md\n// sections 2,\n// 3 and 9 too.\n", 1),
    "src/c.h": ("// The product (spec section 3).\n", 2),
    "src/d.py": ("# What remains\n# of section 2.\n", 1),
    "src/e.cpp": ("// docs/rules.md sections 1 to 4.\n", 1),
    "src/f.yaml": ("# as the spec says\n", 1),
    "docs/g.md": ("[a](rules.md) [b](gone.svg) [c](rules.md#2-two) [d](rules.md#two)\n", 2),
    "docs/h.md": ("`src/ok.h:name` `src/ok.h:nam` `src/gone.h:name`\n", 2),
}
SOUND = {
    "docs/rules.md": "## 1. One\n\n## 2. Two\n\n## 3. Three\n\nAs section 1 says.\n",
    "src/ok.h": "// docs/rules.md sections 1\n// and 3: int name; section 2, 2^5. Vaswani et al. 2017, section 3.5.\n",
    "docs/link.md": "[rules](rules.md) <https://example.org/none.md> [far](https://example.org/none.md)\n",
}


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in [*SOUND.items(), *((name, text) for name, (text, _) in DANGLING.items())]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        found = list(violations(root))
    wrong = [f"{name}: expected {count}" for name, (_, count) in DANGLING.items()
             if sum(line.startswith(name + ":") for line in found) != count]
    if wrong or len(found) != sum(count for _, count in DANGLING.values()):
        sys.exit("\n".join(wrong + ["found:"] + found))


if sys.argv[1] == "--self-test":
    self_test()
else:
    dangling = list(violations(pathlib.Path(sys.argv[1]).resolve()))
    if dangling:
        sys.exit("\n".join(dangling))
