"""The runner that times jitgrad beside PyTorch runs, and compares values before it times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import jitgrad as jg
from benchmarks.compare.families import families


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks.compare", *arguments], capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_runner_measures_and_saves(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("tiny", "--only", "mul", "--processes", "1", "--save", str(file))
    assert done.returncode == 0, done.stderr
    cells = json.loads(file.read_text())["1"]["families"]["tiny"]
    assert [(c["name"], c["mode"]) for c in cells] == [(n, m) for n in ("mul", "matmul") for m in ("forward", "forward+backward")]
    assert all(c["ratio"] > 0 and c["rms"][0] < 1e-6 for c in cells)
    assert "geometric mean" in done.stdout


def test_an_unknown_family_is_one_line() -> None:
    done = run("convolutions")
    assert done.returncode == 2 and "there is no family convolutions; there are matmul, conv" in done.stderr


@pytest.mark.parametrize("family", ["tiny", "pointwise", "reduce", "pool"])
def test_small_cases_agree_with_float64(family: str) -> None:
    for case in families()[family]():
        arrays = case.arrays()
        if not case.exact or sum(a.size for a in arrays.values()) > 20_000:
            continue
        exact = case.calls(torch, arrays, torch.float64)
        for mode, call in case.calls(jg, arrays).items():
            ours, theirs = call(), exact[mode]()
            for a, b in zip(*(r if isinstance(r, (list, tuple)) else [r] for r in (ours, theirs)), strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5, err_msg=f"{case.name}, {mode}")
