"""Plants the faults of faults/ into one build, and asks which test notices each. scripts/mutate.sh is its help."""
import argparse
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
import planting  # noqa: E402
import running  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = ("plant", "build", "baseline", "faults")


class Failed(Exception):
    """The run cannot say anything about faults."""


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/mutate.sh", description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the faults and end")
    parser.add_argument("--check", action="store_true", help="only check that every fault applies to the tree (seconds)")
    parser.add_argument("--only", metavar="PATTERN", default="*", help="faults by name, such as 'train.*'")
    parser.add_argument("--layers", metavar="A,B", default="", help="faults of these layers")
    parser.add_argument("--gpu", action="store_true", help="only the faults that need a GPU (else: all others)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="faults tried at once (default: cores)")
    parser.add_argument("--steps", metavar="A,B", default=",".join(STEPS), help="some of plant,build,baseline,faults")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="the tree (default: this one)")
    parser.add_argument("--output", type=pathlib.Path, help="where to plant and build (default: ROOT/build/mutation)")
    return parser.parse_args()


def chosen_faults(faults, arguments):
    layers = arguments.layers.split(",") if arguments.layers else planting.LAYERS
    for layer in layers:
        if layer not in planting.LAYERS:
            raise Failed(f"--layers: '{layer}': expected some of {','.join(planting.LAYERS)}")
    chosen = [fault for fault in faults
              if fault.layer in layers and fnmatch.fnmatchcase(fault.name, arguments.only)]
    if not chosen:
        raise Failed(f"--only '{arguments.only}': no fault has such a name")
    return chosen


def check(root, faults, hooks):
    """Everything that can be known without a build: names, texts, test programs."""
    planting.check_names(faults)
    count = len(list(planting.planted_files(root, faults, hooks)))
    lists = "".join(path.read_text() for path in (root / "tests").rglob("CMakeLists.txt"))
    for spec in sorted({spec for fault in faults for spec in running.tests_of(fault, {})}):
        program = spec.split(":")[0]
        if program != "ctest" and not re.search(rf"rse_test\({program}\b", lists):
            raise planting.ListError(f"test '{spec}': no rse_test({program} ...) in the tree")
    return count


def build(source, specs):
    log = source.parent / "build.log"
    targets = running.targets_of(specs)
    with open(log, "w") as output:
        for command in (["cmake", "--preset", "release"],
                        ["cmake", "--build", "--preset", "release", "--target", *targets]):
            code = subprocess.run(command, cwd=source, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
            if code != 0:
                tail = log.read_text(errors="replace").splitlines()[-40:]
                raise Failed("\n".join(tail) + f"\n{' '.join(command[:3])} failed: {log}")
    print(f"built {', '.join(targets)}", flush=True)


def baseline(folder, specs, gpu, jobs, file):
    """Every test passes where no fault is set. Returns seconds by test and keeps them in `file`."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = dict(zip(specs, pool.map(
            lambda spec: running.run_test(folder, spec, "", 1800.0, gpu), specs)))
    for spec, outcome in results.items():
        print(f"no fault: {spec}: {outcome.cases} cases, {outcome.seconds:.0f} s"
              f"{', FAILED: ' + outcome.noticed_by if outcome.noticed_by else ''}", flush=True)
    wrong = [spec for spec, outcome in results.items() if outcome.noticed_by]
    if wrong:
        raise Failed(f"without a fault these fail, so nothing can be said: {', '.join(wrong)}")
    empty = [spec for spec, outcome in results.items() if outcome.cases == 0]
    if empty and not (gpu and len(empty) < len(results)):  # few layers have cases for a GPU
        raise Failed(f"no case of these passed, or all were skipped: {', '.join(empty)}")
    known = json.loads(file.read_text()) if file.exists() else {}
    known.update({spec: outcome.seconds for spec, outcome in results.items()})
    file.write_text(json.dumps(known, indent=1))


def try_all(folder, faults, seconds, jobs):
    """Tries the faults; prints each result when it is there."""
    results = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(running.try_fault, folder, fault, seconds): fault for fault in faults}
        for future in concurrent.futures.as_completed(waiting):
            fault, outcome = waiting[future], future.result()
            results.append({"name": fault.name, "file": fault.file, "what": fault.what,
                            "noticed_by": outcome.noticed_by, "seconds": round(outcome.seconds, 1)})
            print(f"{len(results):>3}/{len(faults)} {fault.name}: {outcome.noticed_by or 'SURVIVES'} "
                  f"({outcome.seconds:.0f} s)", flush=True)
    return results


def print_table(results):
    width = max(len(row["name"]) for row in results)
    print(f"\n{'fault':<{width}}  {'seconds':>7}  noticed by")
    for row in sorted(results, key=lambda row: row["name"]):
        print(f"{row['name']:<{width}}  {row['seconds']:>7.0f}  {row['noticed_by'] or 'NOBODY: ' + row['what']}")
    survivors = [row["name"] for row in results if not row["noticed_by"]]
    print(f"{len(results) - len(survivors)} of {len(results)} faults are noticed"
          + (f"; a missing test each: {', '.join(survivors)}" if survivors else ""))
    return len(survivors)


def run(arguments):
    faults, hooks = planting.load_faults()
    files = check(arguments.root, faults, hooks)
    if arguments.check:
        print(f"{len(faults)} faults in {files} files apply, {sum(fault.gpu for fault in faults)} of them on a GPU")
        return 0
    chosen = chosen_faults(faults, arguments)
    if arguments.list:
        for fault in chosen:
            print(f"{fault.name}{' (GPU)' if fault.gpu else ''}: {fault.file}: {fault.what}")
        return 0
    chosen = [fault for fault in chosen if fault.gpu == arguments.gpu]
    if not chosen:
        raise Failed("no fault left: those chosen need a GPU (--gpu), or none does")
    steps = arguments.steps.split(",")
    output = arguments.output or arguments.root / "build/mutation"
    source, folder, times = output / "src", output / "src/build/release", output / "seconds.json"
    specs = sorted({spec for fault in chosen for spec in running.tests_of(fault, {})})
    if "plant" in steps:
        planting.plant_tree(arguments.root, source, faults, hooks)
        print(f"planted {len(faults)} faults into {source}", flush=True)
    if "build" in steps:
        build(source, specs)
    if "baseline" in steps:
        baseline(folder, specs, arguments.gpu, arguments.jobs, times)
    if "faults" not in steps:
        return 0
    if not times.exists():
        raise Failed(f"{times} does not exist: run the step baseline first")
    results = try_all(folder, chosen, json.loads(times.read_text()), arguments.jobs)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")
    return 1 if print_table(results) else 0


def main():
    try:
        return run(parse_arguments())
    except (planting.ListError, Failed) as error:
        print(f"mutate.sh: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
