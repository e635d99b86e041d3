"""How a call is timed, and what the machine could do at best."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.compare.peak import multiply_adds

BLOCK = 3e-3  # seconds of one library's turn, at least one call
ROUNDS = 5
SLOW = 0.02  # seconds of a call that is long
LONG = 0.2  # seconds for each library after which there are no further turns, if there were 3


def medians(calls: Sequence[Callable[[], Any]], block: float = BLOCK, rounds: int = ROUNDS) -> list[float]:
    """Median seconds a call of each, taking turns.

    The first call of a turn is not timed, unless calls are long: it waits for the other library's threads to fall asleep, and for its data
    to come back to the cache.
    """
    counts, long = [], []
    for call in calls:
        call()
        call()
        start = time.perf_counter()
        call()
        once = time.perf_counter() - start
        counts.append(max(1, int(block / max(once, 1e-7))))
        long.append(once > SLOW)
    times: list[list[float]] = [[] for _ in calls]
    begun = time.perf_counter()
    for turn in range(rounds):
        if turn >= 3 and time.perf_counter() - begun > LONG * len(calls):
            break
        for call, count, slow, into in zip(calls, counts, long, times, strict=True):
            if not slow:
                call()
            repeat = range(count)
            start = time.perf_counter()
            for _ in repeat:
                call()
            into.append((time.perf_counter() - start) / count)
    return [statistics.median(t) for t in times]


def rms(values: Sequence[Any], exact: Sequence[Any]) -> float:
    """Root mean square of the error, relative to that of the exact values; for several arrays the largest."""
    found = [0.0]
    for v, e in zip(values, exact, strict=True):
        e = np.asarray(e, np.float64)
        size = float(np.sqrt(np.mean(e * e))) or 1.0
        d = np.asarray(v, np.float64) - e
        found.append(float(np.sqrt(np.mean(d * d))) / size if e.size else 0.0)
    return float(np.max(found))  # NaN is the largest


def peak(threads: int) -> tuple[float, float]:
    """Multiply-adds on registers in GFLOP/s, and copying of large arrays in GB/s (bytes read and written), of all threads together."""
    arrays = [(np.ones(1 << 24, np.float32), np.ones(1 << 24, np.float32)) for _ in range(threads)]

    def copy(thread: int) -> int:
        for _ in range(8):
            np.copyto(*arrays[thread])
        return 8 * 2 * arrays[thread][0].nbytes

    def rate(work: Callable[[int], int]) -> float:
        done = threads * work(0)
        best = float("inf")
        with ThreadPoolExecutor(threads) as pool:
            for _ in range(5):
                start = time.perf_counter()
                list(pool.map(work, range(threads)))
                best = min(best, time.perf_counter() - start)
        return done / best / 1e9

    return rate(lambda _: multiply_adds(4_000_000)), rate(copy)
