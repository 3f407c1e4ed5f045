"""Tests what the operator library and the programs export, and that the library's sources use no streams.

A Python process holds two C++ runtimes, that of the system and what LibTorch brings of another. Where one finds the
other's copy of a function in the place of its own, a call such as formatting a number ends the process.

usage: exports_test.py library LIBRARY MAP     LIBRARY exports just the names in MAP, its version script
       exports_test.py program PROGRAM...      the programs export nothing
       exports_test.py sources FOLDER          the sources of the library, in the repository FOLDER, use no streams
"""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))
from elf import Elf  # noqa: E402

STREAMS = re.compile(r"#include\s*<(iostream|sstream|fstream|istream|ostream|iomanip|locale|codecvt|fmt/ostream\.h)>"
                     r"|\b(TORCH_CHECK|TORCH_INTERNAL_ASSERT|TORCH_WARN|AT_ERROR|c10::str)\b|\bstd::(cout|cerr|clog)\b")


def mangled(name):
    """Returns how the mangled names of the functions NAME begin: rse::attention is _ZN3rse9attention."""
    return "_ZN" + "".join(f"{len(part)}{part}" for part in name.split("::"))


def check_library(library, version_script):
    with open(version_script, encoding="utf-8") as file:
        listed = re.findall(r"^ +(\w+(?:::\w+)+)\*;$", file.read(), re.MULTILINE)
    exported = Elf(library).exported()
    # After the name comes E, or B where an ABI tag follows.
    named = {symbol: [name for name in listed if re.match(mangled(name) + "[EB]", symbol)] for symbol in exported}
    errors = [f"{library} exports {symbol}, which {version_script} does not list"
              for symbol, names in named.items() if not names]
    used = {name for names in named.values() for name in names}
    return errors + [f"{version_script} lists {name}, which {library} does not export"
                     for name in listed if name not in used] + ([] if listed else [f"{version_script} lists nothing"])


def check_programs(programs):
    return [f"{program} exports {name}" for program in programs for name in Elf(program).exported()
            if name != "_IO_stdin_used"]


def check_sources(repository):
    errors, count = [], 0
    files = [os.path.join("src", "core", name) for name in ("check.h", "check.cpp", "enum_names.h")]
    for folder in ("kernels", os.path.join("src", "ops")):
        for parent, _, names in os.walk(os.path.join(repository, folder)):
            files += [os.path.join(os.path.relpath(parent, repository), name) for name in names
                      if name.endswith((".h", ".cpp", ".cu", ".cuh"))]
    for path in files:
        with open(os.path.join(repository, path), encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                count += 1
                if STREAMS.search(line):
                    errors.append(f"{path}:{number}: {line.strip()}")
    return errors if count > 1000 else errors + [f"only {count} lines were read"]


if __name__ == "__main__":
    kind, arguments = sys.argv[1], sys.argv[2:]
    check = {"library": lambda: check_library(*arguments), "program": lambda: check_programs(arguments),
             "sources": lambda: check_sources(*arguments)}
    problems = check[kind]()
    print("\n".join(problems[:40]) or "passed")
    sys.exit(1 if problems else 0)
