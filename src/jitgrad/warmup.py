"""Compiles the usual kernels, so that the first call of a program finds them on disk. float32, small and large sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from jitgrad import demo, ops
from jitgrad.autograd import Tensor, no_grad
from jitgrad.data import TensorDataset
from jitgrad.kernels import PARALLEL_MIN, jit
from jitgrad.nn import functional as F  # noqa: N812
from jitgrad.nn.parameter import Parameter
from jitgrad.ops.create import full, ones
from jitgrad.ops.random import default_generator
from jitgrad.optim import SGD, AdamW

LARGE = 512  # LARGE * LARGE elements run on several threads
assert LARGE * LARGE >= 2 * PARALLEL_MIN


def run(progress: bool = True) -> str:
    """Compile all; returns a line that says what was done. The state of the default random generator stays as it was."""
    state, began, start = default_generator.get_state(), jit.cache_info(), time.perf_counter()
    try:
        with tqdm(list(tasks()), desc="warmup", unit="op", disable=not progress) as bar:
            for name, task in bar:
                bar.set_postfix_str(name)
                task()
    finally:
        default_generator.set_state(state)
    hits, misses = (b - a for a, b in zip(began, jit.cache_info(), strict=True))
    return f"compiled {misses} kernels, found {hits} in {jit.cache_dir()}, {time.perf_counter() - start:.1f} s"


def tasks() -> Iterator[tuple[str, Callable[[], None]]]:
    """Names, and functions that call what is to be compiled forward and backward."""
    for name, (f, *shapes) in _calls().items():
        for n in (8, LARGE):
            yield f"{name} {'small' if n == 8 else 'large'}", lambda f=f, shapes=shapes, n=n: _both(f, shapes, n)  # type: ignore[misc]
    yield "optimizers", _optimizers
    yield "random numbers", _random
    yield "demo", _demo


def _both(f: Callable[..., Tensor], shapes: list[Any], n: int) -> None:
    """f and its gradient for inputs of such shapes, in which None stands for n."""
    y = f(*(full([n if size is None else size for size in shape], 0.5).requires_grad_() for shape in shapes))
    if y.requires_grad:
        y.sum().backward()


def _calls() -> dict[str, Any]:
    """A call for each op, and the shapes of its inputs."""
    plane, row, images = (None, None), (None,), (2, 3, None, None)
    found: dict[str, Any] = {}
    for name in ("exp", "log", "sqrt", "tanh", "relu", "neg", "gelu"):
        found[name] = (getattr(ops, name, None) or getattr(F, name), plane)
    for name in ("add", "sub", "mul", "div", "pow"):
        f = getattr(ops, name)
        found[name] = (f, plane, plane)
        found[f"{name} row"] = (f, plane, row)
        found[f"{name} number"] = (lambda x, f=f: f(x, 2.0), plane)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        f = getattr(ops, name)
        found[name] = (f, plane, plane)
        found[f"{name} number"] = (lambda x, f=f: f(x, 2.0), plane)
    found["where"] = (lambda x, y: ops.where(x > y, x, y), plane, plane)
    for name in ("sum", "mean", "var", "amax"):
        f = getattr(ops, name)
        found[name] = (f, plane)
        found[f"{name} rows"] = (lambda x, f=f: f(x, 1), plane)
        found[f"{name} columns"] = (lambda x, f=f: f(x, 0), plane)
    found["max"] = (lambda x: ops.max(x, 1)[0], plane)
    found["argmax"] = (lambda x: ops.argmax(x, 1), plane)
    found["matmul"] = (ops.matmul, plane, plane)
    found["matmul batches"] = (ops.matmul, (4, None, None), (4, None, None))
    found["linear"] = (F.linear, plane, plane, row)
    found["softmax"] = (lambda x: ops.softmax(x, 1), plane)
    found["log_softmax"] = (lambda x: ops.log_softmax(x, 1), plane)
    found["cross_entropy"] = (lambda x: F.cross_entropy(x, ops.zeros(x.shape[0], dtype="int64")), plane)
    found["nll_loss"] = (lambda x: F.nll_loss(x, ops.zeros(x.shape[0], dtype="int64")), plane)
    found["layer_norm"] = (lambda x, w, b: F.layer_norm(x, w.shape, w, b), plane, row, row)
    found["embedding"] = (lambda w: F.embedding(ops.zeros(8, dtype="int64"), w), plane)
    found["conv2d"] = (lambda x, w, b: F.conv2d(x, w, b, padding=1), images, (8, 3, 3, 3), (8,))
    found["conv2d stride 2"] = (lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), images, (8, 3, 3, 3), (8,))
    found["max_pool2d"] = (lambda x: F.max_pool2d(x, 2), images)
    found["avg_pool2d"] = (lambda x: F.avg_pool2d(x, 2), images)
    found["batch_norm"] = (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), images, (3,), (3,))
    found["transpose"] = (lambda x: x.t().reshape(-1), plane)
    found["cat"] = (lambda x, y: ops.cat([x, y]), plane, plane)
    found["index"] = (lambda x: x[1:, ops.zeros(3, dtype="int64")], plane)
    return found


def _optimizers() -> None:
    for n in (8, LARGE):
        p = Parameter(ones(n, n))
        p.grad = ones(n, n)
        for optimizer in (SGD([p], 0.1), SGD([p], 0.1, momentum=0.9, weight_decay=0.1), AdamW([p])):
            optimizer.step()


def _random() -> None:
    for n in (8, LARGE):
        ops.rand(n, n), ops.randn(n, n), ops.randint(0, 9, (n,)), ops.randperm(n)
        F.dropout(ones(n, n), 0.5)


def _demo() -> None:
    """Steps of the demo and its test, on images of zeros."""
    recipe = demo.Recipe(epochs=1)
    x, labels = ops.zeros(2 * recipe.batch_size, 1, 8, 8), ops.zeros(2 * recipe.batch_size, dtype="int64")
    data, large = TensorDataset(x, labels), TensorDataset(ops.zeros(360, 1, 8, 8), ops.zeros(360, dtype="int64"))
    training = demo.Training(demo.Split("warmup", data, large), recipe)
    training.run(progress=False)
    with no_grad():
        demo.accuracy(training.model, large)
