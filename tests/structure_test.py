#!/usr/bin/env python3
"""Holds the shape of the source tree: the ranks of ARCHITECTURE.md, headers that compile alone,
the size of files (tests too), a run file of under 500 lines, that the tests which docs/security.md names exist, and
the format, where clang-format 14 is installed.

usage: structure_test.py SOURCE_DIR [CXX [C++ flags for headers ...]]
"""
import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import sys

# From the ground up. A folder includes only folders of a lower rank, never one beside or above it.
RANKS = {"base": 0, "kernels": 1, "gguf": 2, "text": 2, "model": 3, "engine": 4, "train": 5, "cli": 9}
FILE_LINES_MAX = 800
RUN_FILE_LINES_MAX = 499
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def include_faults(source, folder, path, text):
    for target in INCLUDE.findall(text):
        if target.startswith("tests/support/") and path.stem.endswith(("_test", "_test_support")):
            continue
        if (path.parent / target).exists() and "/" not in target:
            yield f'{path}: include "{target}" by its full path, "{folder}/{target}"'
            continue
        other = target.split("/")[0]
        if not (source / target).exists() or other not in RANKS:
            yield f'{path}: "{target}" is not a header of a ranked folder; use <> for libraries'
        elif other != folder and RANKS[other] >= RANKS[folder]:
            yield f"{path}: {folder} (rank {RANKS[folder]}) must not include {other} (rank {RANKS[other]})"


def length_faults(path, text):
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{path}: {lines} lines; split it (at most {FILE_LINES_MAX})"


def tests_faults(root):
    for path in sorted((root / "tests").rglob("*")):
        if path.suffix in (".h", ".cc", ".c", ".py") and path.is_file():
            yield from length_faults(path, path.read_text())


# docs/security.md names the tests that hold each class of attack: `Suite.Case` of a *_test.cc, `file.py Class.test`,
# or a file of a corpus.
def security_faults(root):
    page = root / "docs" / "security.md"
    sources = {p: p.read_text() for folder in ("src", "tests") for p in sorted((root / folder).rglob("*_test.*"))}
    tests = {f"{suite}.{case}" for text in sources.values()
             for suite, case in re.findall(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", text, re.MULTILINE)}
    for path, text in sources.items():
        if path.suffix == ".py":
            for body in re.split(r"^class ", text, flags=re.MULTILINE)[1:]:
                name = re.match(r"\w+", body).group()
                tests |= {f"{path.name} {name}.{case}" for case in re.findall(r"^    def (test_\w+)", body, re.MULTILINE)}
    rows = re.findall(r"^\|(?! ---| class)(.+)\|$", page.read_text(), re.MULTILINE)
    for row in rows:
        named = re.findall(r"`([^`]+)`", row.split("|")[-1])
        if not named:
            yield f"{page}: no test is named for{row.split('|')[0]}"
        for name in named:
            if name not in tests and not (root / name).is_file():
                yield f"{page}: there is no test {name}"


def tree_faults(root):
    source = root / "src"
    for path in sorted(source.rglob("*")):
        if path.suffix not in (".h", ".cc") or not path.is_file():
            continue
        folder = path.relative_to(source).parts[0]
        if folder not in RANKS:
            yield f"{path}: folder {folder} has no rank; add it here and in ARCHITECTURE.md"
            continue
        text = path.read_text()
        yield from length_faults(path, text)
        if path.suffix == ".h" and "#pragma once" not in text:
            yield f"{path}: no #pragma once"
        yield from include_faults(source, folder, path, text)
    run_file = root / "run" / "geist.c"
    if run_file.exists() and run_file.read_text().count("\n") > RUN_FILE_LINES_MAX:
        yield f"{run_file}: the run file must stay under 500 lines"
    architecture = (root / "ARCHITECTURE.md").read_text()
    for folder in sorted(p.name for p in source.iterdir() if p.is_dir()):
        if f"src/{folder}" not in architecture:
            yield f"ARCHITECTURE.md does not mention src/{folder}"


def stands_alone(root, header):
    """The build itself shows it: the header is the first that its own .cc file includes."""
    unit = header.with_suffix(".cc")
    if not unit.is_file():
        return False
    first = re.search(r"^#include (.+)$", unit.read_text(), re.MULTILINE)
    return first is not None and first[1] == f'"{header.relative_to(root / "src").as_posix()}"'


def header_faults(root, compiler):
    # Instruction-set headers (simd_avx2.h and the like) compile only in their own units.
    headers = [p for p in sorted((root / "src").rglob("*.h"))
               if not re.search(r"(_inl|_avx2|_avx512|_avx512vnni|_neon)\.h$", p.name) and not stands_alone(root, p)]

    def check(header):
        run = subprocess.run([*compiler, "-std=c++20", "-fsyntax-only", "-x", "c++", f"-I{root / 'src'}",
                              f"-I{root}", str(header)], capture_output=True, text=True)
        return f"{header} does not compile alone:\n{run.stderr}" if run.returncode else None

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield from filter(None, pool.map(check, headers))


def format_faults(root):
    formatter = shutil.which("clang-format-14")  # others lay out a few constructs otherwise
    if formatter is None:
        print("structure: clang-format-14 is not installed, the format is not checked")
        return
    files = [p for folder in ("src", "tests", "bench", "docs") for p in sorted((root / folder).rglob("*"))
             if p.suffix in (".h", ".cc", ".c")]
    run = subprocess.run([formatter, "--dry-run", "-Werror", *map(str, files)], capture_output=True, text=True)
    for name in sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", run.stderr, re.MULTILINE))):
        yield f"{name}: not formatted: clang-format-14 -i {name}"


def main():
    root = pathlib.Path(sys.argv[1])
    faults = [*tree_faults(root), *tests_faults(root), *security_faults(root), *format_faults(root)]
    if len(sys.argv) > 2:
        faults += list(header_faults(root, sys.argv[2:]))
    for fault in faults:
        print(fault)
    print(f"structure: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
