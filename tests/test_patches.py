"""What adding costs: one small patch of each kind touches only the files it may, and its rows pass the generic tests.

CONTRIBUTING.md walks through the same patches.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PATCHES = ROOT / "tests" / "patches"

EXPORTS = ["src/jitgrad/__init__.py", "src/jitgrad/ops/__init__.py", "src/jitgrad/nn/functional.py"]
COMPOSED = ["src/jitgrad/ops/*.py", *EXPORTS, "tests/op_cases.py", "tests/cases_*.py"]

# Patch: the files it may touch, and the tests of the new rows, on the CPU and, where kernels are new, in the CUDA simulator.
CPU = ["tests/test_ops.py"]
CASES = {
    "composed_addcmul": (COMPOSED, [*CPU, "src/jitgrad/ops/pointwise.py", "-k", "addcmul"], []),
    "pointwise_celu": (
        [*COMPOSED, "src/jitgrad/kernels/scalars.py"],
        [*CPU, "src/jitgrad/ops/activation.py", "-k", "F.celu or activation.celu"],
        ["tests/test_ops_cuda.py", "-k", "F.celu"],
    ),
    "kernel_cumsum": (
        [*COMPOSED, "src/jitgrad/kernels/cpu/*.py", "src/jitgrad/kernels/cuda/*.py"],
        [*CPU, "src/jitgrad/ops/reduce.py", "-k", "cumsum"],
        ["tests/test_ops_cuda.py", "tests/test_kernels_cuda.py", "-k", "cumsum or (same_names and reduce)"],
    ),
    "layer_prelu": (
        ["src/jitgrad/nn/*.py", "tests/module_cases.py"],
        ["tests/test_modules.py", "src/jitgrad/nn/activation.py", "-k", "PReLU or table_is_complete"],
        [],
    ),
}


def hunks(patch: str) -> Iterator[tuple[str, str, str]]:
    """Of each hunk of a unified diff: the file, the lines that it expects, the lines that it leaves."""
    path = ""
    for part in re.split(r"^(?=--- |@@ )", patch, flags=re.M):
        head, _, body = part.partition("\n")
        if head.startswith("--- "):
            path = body.split("\n")[0].removeprefix("+++ b/")
        elif head.startswith("@@ "):
            lines = body.splitlines(keepends=True)
            old, new = ("".join(line[1:] for line in lines if line[0] in kinds) for kinds in (" -", " +"))
            sizes = re.match(r"@@ -\d+,(\d+) \+\d+,(\d+) @@", head)
            assert sizes, f"{path}: {head!r} is no head of a hunk"
            assert (old.count("\n"), new.count("\n")) == tuple(map(int, sizes.groups())), f"{path}: {head} counts other lines"
            yield path, old, new


def apply(patch: str, root: Path) -> set[str]:
    """Apply a diff; line numbers count for nothing, a hunk's lines must stand in its file exactly once. Returns the files."""
    touched = set()
    for path, old, new in hunks(patch):
        text = (root / path).read_text()
        assert text.count(old) == 1, f"{path} has these lines {text.count(old)} times:\n{old}"
        (root / path).write_text(text.replace(old, new))
        touched.add(path)
    return touched


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the tests need, at one place for all patches: kernels that a patch leaves alone are compiled once."""
    root = tmp_path_factory.mktemp("tree")
    unneeded = shutil.ignore_patterns("__pycache__", "patches", ".*")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=unneeded)
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def start(tree: Path, tests: list[str], **more: str) -> subprocess.Popen[str]:
    """Start the tests in a process of their own that sees the copy only."""
    unwanted = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTHONDONTWRITEBYTECODE")
    env = {k: v for k, v in os.environ.items() if k not in unwanted}
    env |= {"PYTHONPATH": str(tree / "src"), "JITGRAD_CACHE_DIR": str(tree / "cache"), **more}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-x", "-rs", *tests]
    return subprocess.Popen(command, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for the tests: at least one must be there, all must pass, none may be skipped."""
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said[-5000:]
    skipped = [line for line in said.splitlines() if line.startswith("SKIPPED") and "torch" not in line]
    assert not skipped, said


@pytest.mark.parametrize("name", CASES)
def test_patch(name: str, tree: Path) -> None:
    """It touches only what its kind may touch, and its rows pass."""
    allowed, cpu, cuda = CASES[name]
    patch = (PATCHES / f"{name}.patch").read_text()
    before = {path: (tree / path).read_text() for path, _, _ in hunks(patch)}
    processes = []
    try:
        for path in apply(patch, tree):
            assert any(fnmatch(path, pattern) for pattern in allowed), f"{name} touches {path}"
        processes.append(start(tree, cpu))
        if cuda:
            processes.append(start(tree, cuda, NUMBA_ENABLE_CUDASIM="1"))
        for process in processes:
            finish(process)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        for path, text in before.items():
            (tree / path).write_text(text)


def test_every_patch_is_tried() -> None:
    assert {p.stem for p in PATCHES.iterdir()} == set(CASES)


def test_the_walk_throughs_show_the_patches() -> None:
    """CONTRIBUTING.md has each patch to the letter, under its name."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    shown = dict(re.findall(r"`tests/patches/(\w+)\.patch`:\n\n```diff\n(.*?)```\n", text, flags=re.S))
    assert shown == {p.stem: p.read_text() for p in PATCHES.iterdir()}
