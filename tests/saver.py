"""Saves without end, in children forked on demand: for each line read, a child that writes ever new files under one name.

Each file has the same number in all tensors and in the metadata, so that a mixture of two would show.
"""

from __future__ import annotations

import os
import sys

import numpy as np

import jitgrad as jg


def save_for_ever(path: str) -> None:
    n = 0
    while True:
        n += 1
        model = {f"layer{i}": jg.from_numpy(np.full((100, 1000), n, np.float32)) for i in range(5)}
        jg.save({"n": n, "model": model, "list": [n] * 100}, path)
        if n == 1:
            print("saved", flush=True)


if __name__ == "__main__":
    print("ready", flush=True)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            save_for_ever(sys.argv[1])
        print(child, flush=True)
        os.waitpid(child, 0)
        print("dead", flush=True)
