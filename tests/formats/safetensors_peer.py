#!/usr/bin/env python3
"""Checks src/formats/safetensors.cpp against Python's safetensors package, both ways. The exit code is 77 without it.

Usage: safetensors_peer.py PEER_PROGRAM TORCH_FOLDER
"""
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file
except ImportError:
    # Tries the Python that LibTorch came from, because TORCH_FOLDER is VENV/lib/python3.x/site-packages/torch.
    other = pathlib.Path(sys.argv[2]).parents[3] / "bin" / "python"
    if other.exists() and "RSE_PEER_AGAIN" not in os.environ:
        os.execve(other, [str(other), *sys.argv], dict(os.environ, RSE_PEER_AGAIN="1"))
    print("there is no Python with torch and safetensors")
    sys.exit(77)

KNOWN = {
    "matrix": torch.arange(6, dtype=torch.float32).reshape(2, 3) / 4,
    "transposed": torch.arange(6, dtype=torch.float32).reshape(2, 3).t().contiguous(),
    "bf16": torch.arange(5, dtype=torch.float32).to(torch.bfloat16),
    "ids": torch.tensor([-1, 1 << 30]),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
}

with tempfile.TemporaryDirectory() as folder:
    ours, theirs = os.path.join(folder, "ours.safetensors"), os.path.join(folder, "theirs.safetensors")
    subprocess.run([sys.argv[1], "write", ours], check=True)
    with safe_open(ours, framework="pt") as file:
        assert set(file.keys()) == set(KNOWN), file.keys()
        assert file.metadata() == {"made by": "rse"}, file.metadata()
        for name, expected in KNOWN.items():
            found = file.get_tensor(name)
            assert found.dtype == expected.dtype and torch.equal(found, expected), name
    save_file(KNOWN, theirs, metadata={"made by": "python"})
    subprocess.run([sys.argv[1], "check", theirs], check=True)
