"""The same seed and the same number of threads give the same bits, however the threads share the work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import nn


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = jg.get_num_threads()
    jg.set_num_threads(request.param)
    if jg.get_num_threads() < request.param:
        pytest.skip("the pool has one thread; see test_two_threads_on_one_core")
    yield request.param
    jg.set_num_threads(before)


def trained() -> list[bytes]:
    """Parameters and buffers after three steps that are large enough for the parallel kernels."""
    jg.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3), nn.GELU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.LayerNorm(216), nn.Dropout(0.3), nn.Linear(216, 10),
    )  # fmt: skip
    optimizer = jg.optim.Adam(model.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    x, t = jg.tensor(rng.standard_normal((64, 3, 16, 16), np.float32)), jg.tensor(rng.integers(0, 10, 64))
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), t).backward()
        optimizer.step()
    return [value.numpy().tobytes() for value in model.state_dict().values()]


def test_training_twice(threads: int) -> None:
    first = trained()
    assert all(np.isfinite(np.frombuffer(b, np.float32)).all() for b in first if len(b) > 8)
    assert trained() == first


@pytest.mark.parametrize("op", [jg.sum, jg.mean, jg.var, jg.amax, lambda x: jg.softmax(x, 1), lambda x: x @ x.T, lambda x: jg.sum(x, 0)])
def test_large_ops_twice(op: object, threads: int) -> None:
    x = jg.tensor(np.random.default_rng(0).standard_normal((700, 900), np.float32))
    assert callable(op)
    assert op(x).numpy().tobytes() == op(x).numpy().tobytes()


def test_two_threads_on_one_core() -> None:
    """Where the pool has one thread only, the cases of two run in a process whose pool has two."""
    pytest.importorskip("numba.np.ufunc.omppool", reason="there is no OpenMP runtime", exc_type=ImportError)
    before = jg.get_num_threads()
    jg.set_num_threads(2)
    two = jg.get_num_threads() == 2
    jg.set_num_threads(before)
    if two:
        pytest.skip("the pool has two threads")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "twice and 2"]
    env = os.environ | {"NUMBA_NUM_THREADS": "2", "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout + done.stderr
