"""One thing to time: a call as a user writes it, for jitgrad, PyTorch and NumPy alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Call = Callable[[], Any]
MODES = ("forward", "forward+backward")


@dataclass(frozen=True)
class Normal:
    """A float32 input with a gradient: normal numbers, or with `low` uniform ones from low to 2."""

    shape: tuple[int, ...]
    low: float | None = None

    def make(self, rng: np.random.Generator) -> np.ndarray:
        """The numbers."""
        x = rng.standard_normal(self.shape, np.float32) if self.low is None else rng.uniform(self.low, 2.0, self.shape)
        return x.astype(np.float32)


@dataclass(frozen=True)
class Whole:
    """Indices or labels below `stop`; with stop 2 a mask of bools."""

    shape: tuple[int, ...]
    stop: int

    def make(self, rng: np.random.Generator) -> np.ndarray:
        """The numbers."""
        x = rng.integers(0, self.stop, self.shape)
        return x.astype(bool) if self.stop == 2 else x


class Uncounted:
    """What a case is that NumPy does not have, and whose work is not counted."""

    def numpy_call(self, arrays: Arrays) -> Call | None:
        """None."""
        return None

    def work(self, mode: str) -> tuple[float, float]:
        """No operations, no bytes."""
        return 0.0, 0.0


@dataclass(frozen=True)
class Case:
    """`call` is an expression of the inputs, lib (jitgrad or torch) and F (lib.nn.functional); `numpy` the same of np, forward only."""

    name: str
    row: str  # of the summary
    call: str
    inputs: Mapping[str, Normal | Whole]
    numpy: str = ""
    flops: float = 0.0  # of the forward
    values: float = 0.0  # float32 numbers that the forward must read and write
    modes: tuple[str, ...] = MODES
    exact: bool = True  # whether two libraries compute the same; not where numbers are drawn
    backward: tuple[float, float] = field(default=(2.0, 2.0))  # flops and values of the backward, as multiples of the forward's

    def arrays(self) -> Arrays:
        """The inputs, the same in every process."""
        rng = np.random.default_rng(0)
        return {name: what.make(rng) for name, what in self.inputs.items()}

    def calls(self, lib: Any, arrays: Arrays, dtype: Any = None) -> dict[str, Call]:
        """The call by mode. Forwards do not record; after a backward the gradients are taken off the inputs and returned."""
        plain = {n: lib.tensor(a) for n, a in arrays.items()}
        if dtype is not None:
            plain = {n: t.to(dtype) if arrays[n].dtype.kind == "f" else t for n, t in plain.items()}
        forward = function(self.call, lib, plain)
        if self.modes == MODES[:1]:
            return {"forward": forward}
        leaves = [n for n, a in arrays.items() if a.dtype.kind == "f"]
        inputs = {n: t.clone().requires_grad_() if n in leaves else t for n, t in plain.items()}
        run = function(self.call, lib, inputs)
        shape = tuple(forward().shape)
        g = lib.tensor(np.random.default_rng(1).standard_normal(shape, np.float32) if shape else np.float32(1.0)).to(plain[leaves[0]].dtype)
        return {"forward": forward, "forward+backward": _with_backward(run, g, [inputs[n] for n in leaves])}

    def numpy_call(self, arrays: Arrays) -> Call | None:
        """The forward in NumPy, where it has one."""
        return function(self.numpy, None, arrays) if self.numpy else None

    def work(self, mode: str) -> tuple[float, float]:
        """Floating-point operations, and bytes read or written, at least."""
        flops, values = (0.0, 0.0) if mode == "forward" else self.backward
        return self.flops * (1.0 + flops), 4.0 * self.values * (1.0 + values)


def function(text: str, lib: Any, values: Mapping[str, Any]) -> Call:
    """The expression as a function; its names are arguments with defaults, so that it costs no more than the call."""
    space = {"lib": lib, "F": lib.nn.functional if lib else None, "np": np, **values}
    names = [n for n in space if space[n] is not None]
    made: Call = eval(f"lambda {', '.join(f'{n}={n}' for n in names)}: {text}", space)
    return made


def _with_backward(run: Call, g: Any, leaves: list[Any]) -> Call:
    """Forward, backward, and the gradients taken off."""

    def one() -> Any:
        run().backward(g)
        gradient = leaf.grad
        leaf.grad = None
        return (gradient,)

    def some() -> Any:
        run().backward(g)
        gradients = [x.grad for x in leaves]
        for x in leaves:
            x.grad = None
        return gradients

    leaf = leaves[0]
    return one if len(leaves) == 1 else some
