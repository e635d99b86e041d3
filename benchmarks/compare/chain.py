"""A chain of 100,000 products built, differentiated and freed, against PyTorch. ``python -m benchmarks.compare.chain``

Each library's chains run in turn in one process, with the garbage collector off; medians and ratios PyTorch's time / jitgrad's.
"""

from __future__ import annotations

import gc
import os
import time
from itertools import pairwise
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import jitgrad as jg

LENGTH, ROUNDS = 100_000, 5


def chain(lib: Any) -> list[float]:
    """Milliseconds for building, backward and freeing."""
    y, h = lib.ones(2, requires_grad=True), lib.ones(2)
    moments = [time.perf_counter()]
    for _ in range(LENGTH):
        h = h * y
    moments.append(time.perf_counter())
    h.sum().backward()
    moments.append(time.perf_counter())
    del h
    moments.append(time.perf_counter())
    return [1e3 * (b - a) for a, b in pairwise(moments)]


def main() -> None:
    """Print the three medians of both."""
    gc.disable()
    times: dict[Any, list[list[float]]] = {jg: [], torch: []}
    for _ in range(ROUNDS):
        for lib, rows in times.items():
            rows.append(chain(lib))
    for i, name in enumerate(("build", "backward", "free")):
        a, b = (median(row[i] for row in rows) for rows in times.values())
        print(f"{name:9}{a:8.1f} ms, torch {b:8.1f} ms, ratio {b / a:.2f}")


if __name__ == "__main__":
    main()
