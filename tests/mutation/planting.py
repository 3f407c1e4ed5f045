"""Plants the faults of faults/ into a copy of the tree.

A fault names the text that it replaces. That text must be in its file exactly once, so that a list which no longer fits
the tree fails instead of testing nothing. Every fault is planted at once, as

    (RSE_FAULT("name") ? (faulty expression) : (expression))     or     if (RSE_FAULT("name")) { ... } else { statement }

so that the copy behaves as the tree does where the environment variable RSE_FAULT is not set.
"""
import dataclasses
import importlib
import pathlib
import re
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
LAYERS = ("core", "kernels", "ops", "nn", "data", "formats", "analysis", "run", "eval", "train", "bench", "scripts")
CUDA = {".cu", ".cuh"}
CPP = {".cpp", ".h"} | CUDA
INCLUDE = '#include "core/fault.h"\n#line 1\n'
HEADER = "src/core/fault.h"


class ListError(Exception):
    """The list of faults does not fit the tree."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One planted fault.

    name     "layer.what", the value of RSE_FAULT
    file     relative to the tree's root
    text     is in the file exactly once; the part between « and » is replaced. A part that ends in ";", or in "}" with
             a ";" before it, is a statement, every other part an expression
    becomes  the faulty expression, or the faulty statements (none: the statement is left out)
    what     a sentence that says what is wrong with the planted program
    tests    which tests to try first, before those of the layer and of the layers above (running.py says how tests are
             named)
    gpu      only a GPU runs the faulty code
    """
    name: str
    file: str
    text: str
    becomes: str
    what: str
    tests: tuple = ()
    gpu: bool = False

    @property
    def layer(self):
        return self.name.split(".")[0]


@dataclasses.dataclass(frozen=True)
class Hook:
    """A statement that is put into the copy where a file that holds `text` exactly once has its «»."""
    file: str
    text: str
    inserted: str


def load_faults():
    """Returns the faults of all layers, in the layers' order, and the hooks."""
    faults, hooks = [], []
    for layer in LAYERS:
        if not (HERE / "faults" / f"{layer}_faults.py").exists():
            continue
        module = importlib.import_module(f"faults.{layer}_faults")
        faults += module.FAULTS
        hooks += getattr(module, "HOOKS", [])
    return faults, hooks


def name_hash(name):
    """The same as fault_hash() of fault.h."""
    value = 2166136261
    for byte in name.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value


def check_names(faults):
    names, hashes = set(), {}
    for fault in faults:
        if not re.fullmatch(r"[a-z]+\.[a-z0-9_]+", fault.name) or fault.layer not in LAYERS:
            raise ListError(f"{fault.name}: expected LAYER.NAME with one of the layers {', '.join(LAYERS)}")
        if fault.name in names:
            raise ListError(f"{fault.name}: this name stands in the list twice")
        names.add(fault.name)
        other = hashes.setdefault(name_hash(fault.name), fault.name)
        if other != fault.name:
            raise ListError(f"{fault.name}: its hash is that of {other}; give it another name")
        if not fault.what.endswith("."):
            raise ListError(f"{fault.name}: expected a sentence that says what the fault is, found '{fault.what}'")


def find_span(name, path, content, text):
    """Returns (begin, end) of the part between « and » of the only place in `content` that reads as `text`."""
    if text.count("«") != 1 or text.count("»") != 1 or text.index("«") > text.index("»"):
        raise ListError(f"{name}: expected one « and one » after it in the text: {text}")
    before, rest = text.split("«")
    marked, after = rest.split("»")
    count = content.count(before + marked + after)
    if count != 1:
        raise ListError(f"{name}: {path} holds its text {count} times, expected once: {before + marked + after}")
    begin = content.index(before + marked + after) + len(before)
    return begin, begin + len(marked)


def python_switch(fault):
    """The global variable that says whether the fault is on: f-strings take no quotes inside."""
    return "RSE_FAULT_" + fault.name.replace(".", "_")


def with_python_switches(content, faults):
    """Returns `content` with the variables of its faults before its first import."""
    lines = "".join(f'{python_switch(fault)} = __import__("os").environ.get("RSE_FAULT") == "{fault.name}"\n'
                    for fault in faults)
    return re.sub(r"^(?=import |from )", lambda _: lines, "\n" + content, count=1, flags=re.MULTILINE)[1:]


def is_statement(code):
    code = code.rstrip()
    return code.endswith(";") or (code.endswith("}") and ";" in code)


def switched(path, original, faults):
    """Returns the code that is `original` or, where its switch is on, the faulty code of one of `faults`."""
    for fault in faults:
        if path.suffix == ".py":
            original = f"(({fault.becomes}) if {python_switch(fault)} else ({original}))"
        elif is_statement(original):
            original = f'if (RSE_FAULT("{fault.name}")) {{ {fault.becomes} }} else {{ {original} }}'
        else:
            original = f'(RSE_FAULT("{fault.name}") ? ({fault.becomes}) : ({original}))'
    return original


def plant(path, content, faults, hooks=()):
    """Returns the content of `path` with all of its faults and hooks planted."""
    spans = {}
    for fault in faults:
        span = find_span(fault.name, path, content, fault.text)
        if span[0] == span[1]:
            raise ListError(f"{fault.name}: nothing between « and »")
        spans.setdefault(span, []).append(fault)
    for hook in hooks:
        spans[find_span("hook", path, content, hook.text)] = hook
    ordered = sorted(spans)
    for (_, end), (begin, _) in zip(ordered, ordered[1:]):
        if begin < end:
            raise ListError(f"{path}: two faults replace overlapping texts: {content[begin:end]}")
    for begin, end in reversed(ordered):
        what = spans[begin, end]
        planted = (what.inserted if isinstance(what, Hook) else switched(path, content[begin:end], what))
        content = content[:begin] + planted + content[end:]
    if path.suffix == ".py":
        return with_python_switches(content, faults)
    return INCLUDE + content if path.suffix in CPP else content


def tracked_files(root):
    """The tree's files, relative to `root`: those that git knows, or all but builds where it is no clone."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = [pathlib.Path(name) for name in listed.stdout.decode().split("\0") if name]
    else:
        names = [path.relative_to(root) for path in root.rglob("*")
                 if not any(part in ("build", "__pycache__") or part.startswith(".")
                            for part in path.relative_to(root).parts)]
    return sorted(name for name in names if (root / name).is_file())


def planted_files(root, faults, hooks):
    """Yields (name relative to root, content) of every file in which something is planted."""
    by_file = {}
    for item in [*faults, *hooks]:
        by_file.setdefault(item.file, []).append(item)
    for name, items in sorted(by_file.items()):
        path = root / name
        if not path.is_file():
            raise ListError(f"{items[0].name if isinstance(items[0], Fault) else 'hook'}: no file {name}")
        content = path.read_text(encoding="utf-8")
        yield name, plant(path, content, [item for item in items if isinstance(item, Fault)],
                          [item for item in items if isinstance(item, Hook)])


def write_if_changed(path, data):
    """Leaves files alone that are right already, so that a second build compiles only what changed."""
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def plant_tree(root, target, faults, hooks):
    """Makes `target` a copy of the tree at `root` with all faults planted. target/build stays as it is."""
    planted = {name: content.encode() for name, content in planted_files(root, faults, hooks)}
    planted[HEADER] = (HERE / "fault.h").read_bytes()
    names = {str(name) for name in tracked_files(root)} | set(planted)
    for name in sorted(names):
        path = target / name
        write_if_changed(path, planted[name] if name in planted else (root / name).read_bytes())
        if (root / name).exists():
            shutil.copymode(root / name, path)
    for path in target.rglob("*"):
        relative = path.relative_to(target)
        if path.is_file() and relative.parts[0] != "build" and str(relative) not in names:
            path.unlink()
    deps = root / "build/deps.cmake"  # what scripts/setup.sh found
    if deps.is_file():
        write_if_changed(target / "build/deps.cmake", deps.read_bytes())
