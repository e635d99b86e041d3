"""Optimizers give the same bits in the process that compiles their kernels as in one that loads them from the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
PROGRAM = """
import hashlib
import numpy as np
import jitgrad as jg

for make, options in ((jg.optim.SGD, {"momentum": 0.9}), (jg.optim.Adam, {"weight_decay": 0.01})):
    rng = np.random.default_rng(0)
    params = [jg.nn.Parameter(jg.tensor(rng.standard_normal(n, np.float32))) for n in (2000, 77)]
    optimizer = make(params, lr=0.1, **options)
    for _ in range(4):
        for p in params:
            p.grad = jg.tensor(rng.standard_normal(p.shape, np.float32))
        optimizer.step()
    states = [t for p in params for t in (p, *optimizer.state[p].values()) if isinstance(t, jg.Tensor)]
    print(make.__name__, len(states), *[hashlib.sha256(t.detach().numpy().tobytes()).hexdigest() for t in states])
print(jg.kernels.jit.cache_info().misses > 0)
"""


def test_cold_and_warm(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(SRC), "JITGRAD_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run([sys.executable, "-c", PROGRAM], env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout
        for _ in range(2)
    ]
    cold, warm = ([line.split() for line in run.splitlines()] for run in runs)
    assert [line[:2] for line in cold[:-1]] == [["SGD", "4"], ["Adam", "6"]]
    if "NUMBA_DISABLE_JIT" not in os.environ:
        assert (cold.pop(), warm.pop()) == (["True"], ["False"])
    assert cold == warm
