"""A fresh process that imports a library and runs one training step, against PyTorch's same. ``python -m benchmarks.compare.startup``

Each library's process runs several times in turn, the first run of each warms its caches; medians of the whole process are
printed, and for jitgrad the misses of its kernel cache in the last process.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

STEP = """
import numpy as np
import {module} as lib
from {module} import nn
model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
optimizer = lib.optim.Adam(model.parameters(), lr=1e-3)
x, target = lib.from_numpy(np.ones((16, 1, 8, 8), np.float32)), lib.from_numpy(np.arange(16) % 10)
loss = nn.CrossEntropyLoss()(model(x), target)
loss.backward()
optimizer.step()
"""
MISSES = "from jitgrad.kernels.jit import cache_info\nprint(cache_info().misses)"
RUNS = 7


def run(code: str) -> tuple[float, str]:
    """Seconds that a fresh process takes for the code, and what it prints."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout.strip()


def main() -> None:
    """Print both medians and their ratio."""
    ours = STEP.format(module="jitgrad") + MISSES
    theirs = STEP.format(module="torch")
    cold, _ = run(ours)
    run(theirs)
    times: tuple[list[float], list[float]] = ([], [])
    misses = ""
    for _ in range(RUNS):
        seconds, misses = run(ours)
        times[0].append(seconds)
        times[1].append(run(theirs)[0])
    a, b = map(statistics.median, times)
    print(f"import and one training step: jitgrad {a:.2f} s, torch {b:.2f} s, ratio {b / a:.2f}")
    print(f"with a cold cache {cold:.1f} s; misses of the warm cache: {misses}")


if __name__ == "__main__":
    main()
