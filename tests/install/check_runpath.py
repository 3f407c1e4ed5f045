"""Tests where programs and libraries look for libraries: in absolute folders, or relative to themselves ($ORIGIN).

An empty or relative entry of RUNPATH means the folder in which the program is started, so that whoever may write there
runs code.

usage: check_runpath.py FOLDER NAME...      every ELF file under the folder, among which the named ones must be
       check_runpath.py --self-test CC      a program that CC links with such entries is found
"""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))
import close_search_paths  # noqa: E402
from elf import Elf, is_absolute, loaded_files  # noqa: E402


def bad_entries(path):
    return [entry for entry in Elf(path).search_path() if not is_absolute(entry)]


def check(folder, names):
    errors, seen = [], set()
    for path in loaded_files(folder):
        seen.add(os.path.basename(path))
        errors += [f"{path}: RUNPATH has the entry '{entry}'" for entry in sorted(set(bad_entries(path)))]
    errors += [f"{folder}: there is no {name}" for name in names if name not in seen]
    return errors


def self_test(compiler):
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "main.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write("int main(void) { return 0; }\n")
        for entries, expected in [("/usr/lib::$ORIGIN/../lib", [""]), (":", ["", ""]), ("lib:/usr/lib", ["lib"]),
                                  ("./lib", ["./lib"]), ("/usr/lib:$ORIGIN", []), ("$ORIGINAL/lib", ["$ORIGINAL/lib"])]:
            program = os.path.join(folder, "program")
            subprocess.run([compiler, source, "-o", program, f"-Wl,-rpath,{entries}"], check=True)
            found = bad_entries(program)
            if found != expected:
                return [f"of '{entries}' the entries {found} were found, expected {expected}"]
            if len(check(folder, ["program"])) != len(set(expected)) or not check(folder, ["absent"]):
                return ["the folder was not read"]
            close_search_paths.main(folder)  # as set-up does for what it downloads
            if bad_entries(program) or subprocess.run([program], check=False).returncode != 0:
                return [f"of '{entries}' is left after closing: {bad_entries(program)}"]
    return []


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        problems = self_test(sys.argv[2])
    else:
        problems = check(sys.argv[1], sys.argv[2:])
    print("\n".join(problems) or "passed")
    sys.exit(1 if problems else 0)
