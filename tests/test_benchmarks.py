"""Every benchmark of benchmarks/speed runs, with all its parameters."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
FAMILIES = sorted(p.stem for p in (ROOT / "benchmarks" / "speed").glob("*.py") if p.stem not in ("__init__", "common"))
MEASURES = re.compile("(time|timeraw|track|peakmem)_")


def benchmarks() -> Iterator[Any]:
    for family in FAMILIES:
        module = importlib.import_module(f"speed.{family}")
        for name, made in vars(module).items():
            if isinstance(made, type) and made.__module__ == module.__name__ and any(MEASURES.match(n) for n in dir(made)):
                for values in itertools.product(*getattr(made, "params", [])):
                    yield pytest.param(made, values, id="-".join([family, name, *values]))


@pytest.mark.parametrize(("made", "values"), list(benchmarks()))
def test_runs(made: Callable[[], Any], values: tuple[str, ...]) -> None:
    benchmark = made()
    try:
        benchmark.setup(*values)
    except NotImplementedError:
        assert values[1] == "numpy"  # where NumPy has no such thing
        return
    for name in dir(benchmark):
        if MEASURES.match(name):
            getattr(benchmark, name)(*values)


def tables() -> list[Any]:
    both = [(family, importlib.import_module(f"speed.{family}")) for family in FAMILIES]
    return [pytest.param(c, id=f"{f}-{name}") for f, m in both for name, c in getattr(m, "CASES", {}).items() if c.theirs is not None]


@pytest.mark.parametrize("case", tables())
def test_numpy_computes_the_same(case: Any) -> None:
    """Or the comparison would mean nothing."""
    common = importlib.import_module("speed.common")
    inputs = case.arrays("tiny")
    ours = case.ours(*(common.jg.tensor(a) for a in inputs)).numpy()
    np.testing.assert_allclose(ours, case.theirs(*inputs), rtol=2e-5, atol=2e-5)


def test_startup() -> None:
    startup = importlib.import_module("speed.startup")
    assert startup.track_compile("pointwise") > 0.0
    for name in ("import", "import_numba"):
        exec(getattr(startup, f"timeraw_{name}")(), {})


def test_configuration() -> None:
    text = re.sub(r"^\s*//.*$", "", (ROOT / "asv.conf.json").read_text(), flags=re.M)
    assert (ROOT / json.loads(text)["benchmark_dir"] / "__init__.py").exists()
