"""Tiny tensors against PyTorch, one thread: what a call costs. ``python -m benchmarks.compare.tiny``

Rounds of the two libraries alternate in one process; each figure is the median over rounds, ratios are torch's time / jitgrad's.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import torch

import jitgrad as jg

ROUNDS, CALLS = 31, 400


def pair(ours: Callable[[], Any], theirs: Callable[[], Any], calls: int = CALLS, rounds: int = ROUNDS) -> tuple[float, float]:
    """Median microseconds a call of both, measured in alternating rounds."""
    for f in (ours, theirs):
        for _ in range(50):
            f()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for f, into in ((ours, times[0]), (theirs, times[1])):
            start = time.perf_counter()
            for _ in range(calls):
                f()
            into.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(times[0]), statistics.median(times[1])


# Name, shapes of x, y, z, and the call as a user writes it, for either library.
CASES = {
    "add": (((2, 4), (2, 4)), "lib.add(x, y)"),
    "mul": (((2, 4), (2, 4)), "lib.mul(x, y)"),
    "exp": (((2, 4),), "lib.exp(x)"),
    "sum": (((2, 4),), "lib.sum(x)"),
    "reshape": (((2, 4),), "x.reshape(4, 2)"),
    "index": (((2, 4),), "x[0]"),
    "matmul": (((2, 4), (4, 3)), "lib.matmul(x, y)"),
    "softmax": (((2, 4),), "lib.softmax(x, 1)"),
    "linear": (((2, 4), (3, 4), (3,)), "linear(x, y, z)"),
}


def compiled_calls(lib: Any, text: str, inputs: list[Any]) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """The call, and the call with its backward and ``.grad = None``, as functions that differ in the library only."""
    clear = "".join(f"; {name}.grad = None" for name, _ in zip("xyz", inputs, strict=False))
    space: dict[str, Any] = {}
    source = (
        f"def make(lib, linear, x, y, z):\n  def forward(): return {text}\n  def both(g): {text}.backward(g){clear}\n  return forward, both"
    )
    exec(source, space)
    made: tuple[Callable[[], Any], Callable[[Any], None]] = space["make"](
        lib, lib.nn.functional.linear, *inputs, *[None] * (3 - len(inputs))
    )
    return made


def op_rows() -> list[tuple[str, float, float, float, float]]:
    """Forward, and forward with backward, of each op."""
    rows = []
    rng = np.random.default_rng(0)
    for name, (shapes, text) in CASES.items():
        arrays = [rng.uniform(0.5, 1.5, s).astype(np.float32) for s in shapes]
        mine = [jg.tensor(a, requires_grad=True) for a in arrays]
        other = [torch.tensor(a, requires_grad=True) for a in arrays]
        (ours, our_step), (theirs, their_step) = compiled_calls(jg, text, mine), compiled_calls(torch, text, other)
        y, ty = ours(), theirs()
        assert np.allclose(y.detach().numpy(), ty.detach().numpy(), atol=1e-5), name
        g, tg = jg.ones(*y.shape), torch.ones(ty.shape)
        forward = pair(ours, theirs)
        both = pair(partial(our_step, g), partial(their_step, tg), CALLS // 2)
        rows.append((name, *forward, *both))
    return rows


def mlp_step() -> tuple[float, float]:
    """One training step of an MLP 30-48-24-5 at batch 24: zero_grad, cross entropy, backward, SGD."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((24, 30)).astype(np.float32), rng.integers(0, 5, 24)

    def build(lib: Any, nn: Any) -> Callable[[], Any]:
        model = nn.Sequential(nn.Linear(30, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 5))
        optimizer, loss_fn = lib.optim.SGD(model.parameters(), lr=0.01), nn.CrossEntropyLoss()
        data, target = lib.tensor(x), lib.tensor(labels)

        def step() -> None:
            optimizer.zero_grad()
            loss_fn(model(data), target).backward()
            optimizer.step()

        return step

    return pair(build(jg, jg.nn), build(torch, torch.nn), 60)


def chain(n: int = 100_000) -> None:
    """Build, differentiate and free a chain of n products with the garbage collector off."""
    gc.disable()
    for name, lib in (("jitgrad", jg), ("torch", torch)):
        y = lib.ones(2, requires_grad=True)
        h = lib.ones(2)
        start = time.perf_counter()
        for _ in range(n):
            h = h * y
        built = time.perf_counter()
        h.sum().backward()
        done = time.perf_counter()
        del h
        freed = time.perf_counter()
        spent = [1e3 * (b - a) for a, b in ((start, built), (built, done), (done, freed))]
        print(f"chain of {n:,}: {name:8} build {spent[0]:6.0f} ms, backward {spent[1]:6.0f} ms, free {spent[2]:5.0f} ms")
    gc.enable()


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'op':9}{'forward us':>11}{'torch':>8}{'ratio':>7}{'fwd+bwd us':>12}{'torch':>8}{'ratio':>7}")
    forward, both = [], []
    for name, a, b, c, d in op_rows():
        forward.append(b / a)
        both.append(d / c)
        print(f"{name:9}{a:11.2f}{b:8.2f}{b / a:7.2f}{c:12.2f}{d:8.2f}{d / c:7.2f}")
    print(f"geometric mean: forward {statistics.geometric_mean(forward):.2f}, forward+backward {statistics.geometric_mean(both):.2f}")
    a, b = mlp_step()
    print(f"MLP 30-48-24-5, batch 24: {a:.1f} us, torch {b:.1f}, ratio {b / a:.2f}")
    chain()


if __name__ == "__main__":
    main()
