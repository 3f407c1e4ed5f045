#!/usr/bin/env python3
"""Fails on a source file of more than 400 lines and on a function of more than 60.

Usage: check_size.py ROOT          checks ROOT/kernels, ROOT/src, ROOT/tests and ROOT/scripts
       check_size.py --self-test   measures planted sources

Functions are those of C++ and CUDA; device code (__global__, __device__) is exempt from their limit, because kernels are
cut where the machine code allows it. A function's length goes from the first line of its declaration, template line
included, to the line of its closing brace.
"""
import pathlib
import re
import sys
import tempfile

MOST_LINES, MOST_FUNCTION_LINES = 400, 60
SOURCES = {".h", ".cpp", ".cu", ".cuh", ".inc"}
SCRIPTS = {".py", ".sh", ".cmake"}
IGNORED = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*',
                     re.DOTALL | re.MULTILINE)
SCOPE = re.compile(r"\b(namespace|extern|class|struct|union|enum)\b[^()=]*$")


def blanked(source):
    """Returns the source without comments, texts and preprocessor lines. Every line stays where it is. The quotes of digit
    separators are removed, because they begin no character."""
    source = re.sub(r"(?<=\d)'(?=\d)", "", source)
    return IGNORED.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), source)


def functions(source):
    """Yields (line, lines, declaration) of every function that stands in a namespace or class."""
    code = blanked(source)
    stack, head = [], 0  # open braces: [kind, where the declaration begins]; where the next declaration begins
    for match in re.finditer(r"[{};]|\b(?:public|private|protected):", code):
        at, token = match.start(), match.group()
        inside = any(kind == "function" for kind, _ in stack)
        if token == "{":
            declaration = code[head:at]
            if re.search(r"[\w>]$", declaration) and not declaration.strip().startswith(("namespace", "extern", "enum")):
                stack.append(("initializer", head))  # as in a_{1}; clang-format puts a space before every other brace
                continue
            kind = "block"
            if SCOPE.search(declaration):
                kind = "scope"
            elif not inside and "(" in declaration and "=" not in declaration.split("(")[0]:
                kind = "function"
            stack.append((kind, head))
        elif token == "}" and stack:
            kind, begin = stack.pop()
            if kind == "initializer":
                head = begin
                continue
            if kind == "function":
                begin += len(code[begin:at]) - len(code[begin:at].lstrip())
                first = code.count("\n", 0, begin) + 1
                yield first, code.count("\n", 0, at) + 2 - first, " ".join(code[begin:at].split("{")[0].split())
        elif token == ";" and any(kind == "initializer" for kind, _ in stack):
            continue
        head = match.end()


def violations(root):
    for folder in ("kernels", "src", "tests", "scripts"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SOURCES | SCRIPTS or not path.is_file():
                continue
            source = path.read_text(encoding="utf-8")
            lines = source.count("\n")
            if lines > MOST_LINES:
                yield f"{path}: {lines} lines; expected at most {MOST_LINES}"
            if path.suffix not in SOURCES:
                continue
            for line, length, declaration in functions(source):
                if length > MOST_FUNCTION_LINES and not re.search(r"__(global|device)__", declaration):
                    yield f"{path}:{line}: a function of {length} lines; expected at most {MOST_FUNCTION_LINES}"


PLANTED = '''#include <a>  // {
namespace a {
struct B {
  int c = 0;
  B() : d_{1}, e_(2) {
BODY
  }
};
template <typename T>
void f(const char* text = "}{", char c = '{') {
  if (text) {
BODY
  }
}
__global__ void kernel() {
BODY
BODY
}
const int table[] = {
BODY
BODY
};
}  // namespace a
'''


def self_test():
    def lengths(count):
        return [length for _, length, _ in functions(PLANTED.replace("BODY", "  x = {1};\n" * (count - 1) + "  x();"))]

    assert lengths(10) == [12, 15, 22], lengths(10)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "src").mkdir()
        (root / "src/good.cpp").write_text(PLANTED.replace("BODY", "  x();\n" * 54 + "  x();"))
        assert not list(violations(root)), list(violations(root))
        (root / "src/bad.cpp").write_text(PLANTED.replace("BODY", "  x();\n" * 55 + "  x();"))
        (root / "src/long.cmake").write_text("\n" * 401)
        found = list(violations(root))
        assert len(found) == 2 and "bad.cpp:64: a function of 61" in found[0] and "401 lines" in found[1], found


if sys.argv[1] == "--self-test":
    self_test()
else:
    sys.exit("\n".join(violations(pathlib.Path(sys.argv[1]))) or 0)
