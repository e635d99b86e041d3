"""What the families share: inputs, and classes that asv finds measurements in by their `time_` methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

import jitgrad as jg

LIBRARIES = ["jitgrad", "numpy"]
SIZES = ["tiny", "large"]


def array(*shape: int) -> np.ndarray:
    """Numbers from 0.5 to 1.5, the same ones each time."""
    return np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(np.float32)


def ints(high: int, n: int) -> np.ndarray:
    """n whole numbers below high."""
    return np.random.default_rng(1).integers(0, high, n)


def touch(result: Any) -> float:
    """Read an element of a Tensor, an array or the first of several."""
    if isinstance(result, (tuple, list)):
        result = result[0]
    if isinstance(result, jg.Tensor):
        result = result.detach().numpy()
    return float(result.flat[0] if isinstance(result, np.ndarray) else result)


class Case:
    """One computation: for jitgrad, for NumPy (None where that is no one-liner), and its inputs by size."""

    def __init__(self, ours: Callable[..., Any], theirs: Callable[..., Any] | None, tiny: Any, large: Any) -> None:
        self.ours, self.theirs, self.inputs = ours, theirs, {"tiny": tiny, "large": large}

    def arrays(self, size: str) -> list[np.ndarray]:
        """Inputs: tuples are shapes of floats, arrays are what they are."""
        return [array(*given) if isinstance(given, tuple) else given for given in self.inputs[size]]


class Forward:
    """A family's forward calls, by case, library and size. The base itself has no `time_` method, or asv would run it."""

    cases: ClassVar[dict[str, Case]]
    param_names: ClassVar = ["case", "library", "size"]

    def __init_subclass__(cls) -> None:
        cls.params = [list(cls.cases), LIBRARIES, SIZES]
        cls.time_forward = _call

    def setup(self, case: str, library: str, size: str) -> None:
        """Make the inputs, and compile."""
        c = self.cases[case]
        f = c.ours if library == "jitgrad" else c.theirs
        if f is None:
            raise NotImplementedError  # asv shows n/a
        inputs = c.arrays(size)
        given = [jg.tensor(a) for a in inputs] if library == "jitgrad" else inputs
        self.call = lambda: f(*given)
        touch(self.call())


class Both:
    """A family's calls with backward, by case and size."""

    cases: ClassVar[dict[str, Case]]
    param_names: ClassVar = ["case", "size"]

    def __init_subclass__(cls) -> None:
        cls.params = [list(cls.cases), SIZES]
        cls.time_forward_backward = _call

    def setup(self, case: str, size: str) -> None:
        """Make the inputs, and compile."""
        f = self.cases[case].ours
        inputs = [jg.tensor(a, requires_grad=a.dtype.kind == "f") for a in self.cases[case].arrays(size)]
        g = jg.ones_like(f(*inputs))

        def call() -> list[jg.Tensor]:
            f(*inputs).backward(g)
            grads = [x.grad for x in inputs if x.grad is not None]
            for x in inputs:
                x.grad = None
            return grads

        self.call = call
        touch(call())


def _call(self: Any, *parameters: str) -> None:
    touch(self.call())
