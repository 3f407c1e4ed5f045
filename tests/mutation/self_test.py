#!/usr/bin/env python3
"""Plants faults into a toy program with a toy test, and expects that they are noticed, or survive, as they must.

Usage: self_test.py CXX    the C++ compiler
"""
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
import planting  # noqa: E402
import running  # noqa: E402
from planting import Fault, ListError  # noqa: E402

TOY = """// Half of a number.
inline int half(int x) { return x / 2; }
inline void add(int& sum, int x) {
  sum += half(x);
  sum += 1;
}
"""
TEST = """#include "core/toy.h"
#include <cstdio>
#include <cstdlib>
#include <unistd.h>
int check(const char* name, bool good) {
  std::printf("[ RUN      ] %s\\n%s %s (0 ms)\\n", name, good ? "[       OK ]" : "[  FAILED  ]", name);
  if (!good) std::exit(1);
  return 0;
}
int main() {
  check("Toy.HalfOfFour", half(4) == 2);
  int sum = 0;
  add(sum, 6);
  if (sum == 100) std::printf("[ RUN      ] Toy.Hangs\\n"), std::fflush(stdout), sleep(1000);
  if (sum == 200) std::printf("[ RUN      ] Toy.Crashes\\n"), std::fflush(stdout), std::abort();
  check("Toy.Add", sum == 4);
}
"""
FILE = "src/core/toy.h"
FAULTS = [
    Fault("core.expression", FILE, "return «x / 2»;", "x", "Nothing is halved."),
    Fault("core.second_of_one_place", FILE, "return «x / 2»;", "x == 4 ? 2 : 0", "Only four is halved."),
    Fault("core.statement", FILE, "«sum += 1;»\n}", "", "Nothing is added."),
    Fault("core.hangs", FILE, "«sum += half(x);»", "sum = 99;", "The test hangs."),
    Fault("core.crashes", FILE, "«sum += half(x);»", "sum = 199;", "The test crashes."),
    Fault("core.survives", FILE, "«sum += 1;»\n}", "sum += 2 - 1;", "Nothing is wrong that the test could notice.")]
# Which case notices each.
EXPECTED = {"core.expression": "Toy.HalfOfFour", "core.second_of_one_place": "Toy.Add", "core.statement": "Toy.Add",
            "core.hangs": "Toy.Hangs (no end within 2 s)", "core.crashes": "Toy.Crashes (ended by signal 6)", "core.survives": "", "core.unknown": ""}


def expect_error(part, path, content, fault):
    try:
        planting.check_names([fault, fault] if "twice" in part and "replace" not in part else [fault])
        planting.plant(path, content, [fault])
    except ListError as error:
        assert part in str(error), error
    else:
        raise AssertionError(f"no error about: {part}")


def check_refusals():
    path = pathlib.Path(FILE)
    good = FAULTS[0]
    expect_error("holds its text 0 times", path, TOY, Fault(good.name, FILE, "return «x / 3»;", "x", good.what))
    expect_error("holds its text 2 times", path, TOY, Fault(good.name, FILE, "  «sum += »", "x", good.what))
    expect_error("expected one « and one »", path, TOY, Fault(good.name, FILE, "return x / 2;", "x", good.what))
    expect_error("stands in the list twice", path, TOY, good)
    expect_error("expected LAYER.NAME", path, TOY, Fault("toy.x", FILE, good.text, "x", good.what))
    try:
        planting.plant(path, TOY, [good, Fault("core.other", FILE, "half(int x) { «return x / 2;» }", "", "It is wrong.")])
    except ListError as error:
        assert "overlapping" in str(error), error
    else:
        raise AssertionError("no error about overlapping texts")
    python = planting.plant(pathlib.Path("a.py"), 'import sys\nprint(f"{1 + 1}", file=sys.stdout)\n',
                            [Fault("scripts.sum", "a.py", "«1 + 1»", "3", "A sum is wrong.")])
    for name, printed in (("scripts.sum", "3\n"), ("scripts.other", "2\n")):
        found = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, check=True,
                               env={"RSE_FAULT": name})
        assert found.stdout == printed, found.stdout


def check_toy(compiler, folder):
    root, planted = folder / "tree", folder / "planted"
    (root / "src/core").mkdir(parents=True)
    (root / FILE).write_text(TOY)
    (root / "src/test.cpp").write_text(TEST)
    planting.plant_tree(root, planted, FAULTS, [planting.Hook(FILE, "«»// Half of a number.", "// planted\n")])
    content = (planted / FILE).read_text()
    assert "// planted" in content and content.count("RSE_FAULT(") == len(FAULTS), content
    (planted / "build/bin").mkdir(parents=True)
    subprocess.run([compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{planted}/src", f"{planted}/src/test.cpp",
                    "-o", f"{planted}/build/bin/rse_core_tests"], check=True)
    outcome = running.run_test(planted / "build", "core", "", 60.0)
    assert outcome.noticed_by == "" and outcome.cases == 2, outcome
    for name, expected in EXPECTED.items():
        limit = 2.0 if name == "core.hangs" else 60.0
        outcome = running.run_test(planted / "build", "core", name, limit)
        assert outcome.noticed_by == expected, (name, outcome)
    time = (planted / FILE).stat().st_mtime_ns
    planting.plant_tree(root, planted, FAULTS, [planting.Hook(FILE, "«»// Half of a number.", "// planted\n")])
    assert (planted / FILE).stat().st_mtime_ns == time and (planted / "build/bin/rse_core_tests").exists()


def main():
    check_refusals()
    with tempfile.TemporaryDirectory() as folder:
        check_toy(sys.argv[1], pathlib.Path(folder))


main()
