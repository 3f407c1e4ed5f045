#!/usr/bin/env python3
"""Fails on an include that goes upward or sideways between layers.

Usage: check_layers.py ROOT     checks ROOT/kernels and ROOT/src
       check_layers.py --self-test   plants forbidden includes in a temporary tree and expects them to be found
"""
import pathlib
import re
import sys
import tempfile

# A layer and the layers whose headers it may include.
ALLOWED = {
    "kernels": set(),
    "core": set(),
    "ops": {"core", "kernels"},
    "nn": {"core", "ops"},
    "data": {"core"},
    "formats": {"core"},
    "analysis": {"core"},
    "run": {"core", "kernels", "nn", "data", "formats"},
    "eval": {"core", "nn", "data", "formats", "analysis", "run"},
    "train": {"core", "kernels", "nn", "data", "formats", "analysis", "run", "eval"},
    "bench": {"core", "kernels", "ops", "nn", "data", "formats", "analysis", "run", "eval", "train"},
    "apps": {"core", "data", "eval", "train", "bench"},
}
TORCH_FREE = {"kernels", "core", "data", "analysis"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]')
SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".inc"}


def violations(root):
    for layer in ALLOWED:
        folder = root / layer if layer == "kernels" else root / "src" / layer
        for path in sorted(folder.rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                target = match.group(1)
                first = target.split("/")[0]
                if first in ALLOWED and first != layer and first not in ALLOWED[layer]:
                    yield f"{path}:{number}: {layer} may not include {target}"
                if layer in TORCH_FREE and first in {"torch", "ATen", "c10"}:
                    yield f"{path}:{number}: {layer} may not include LibTorch ({target})"


def self_test():
    planted = {"src/core/a.h": '#include "train/trainer.h"', "src/data/b.cpp": "#include <torch/torch.h>",
               "src/nn/c.cpp": '#include "eval/x.h"', "kernels/d.cu": '#include "core/check.h"'}
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, line in planted.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(line + "\n")
        (root / "src/train").mkdir()
        (root / "src/train/ok.cpp").write_text('#include "nn/encoder.h"\n#include <vector>\n')
        found = list(violations(root))
    if len(found) != len(planted):
        sys.exit(f"expected {len(planted)} violations, found: {found}")


if sys.argv[1] == "--self-test":
    self_test()
else:
    found = list(violations(pathlib.Path(sys.argv[1])))
    if found:
        sys.exit("\n".join(found))
