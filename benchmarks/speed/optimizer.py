"""Steps of optimizers."""

from typing import ClassVar

import numpy as np

import jitgrad as jg

from .common import LIBRARIES, SIZES, array, touch

SHAPES = {"tiny": [(4, 3), (4,)], "large": [(1024, 1024), (1024,)]}
MAKE = {
    "SGD": lambda p: jg.optim.SGD(p, lr=1e-3),
    "AdamW": lambda p: jg.optim.AdamW(p, lr=1e-3),
}


def by_hand(name: str, p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray) -> None:
    """The same step in NumPy (bias corrections left out, which cost nothing)."""
    if name == "SGD":
        p -= 1e-3 * g
    else:
        p *= 1 - 1e-5
        m += 0.1 * (g - m)
        v += 1e-3 * (g * g - v)
        p -= 1e-3 * m / (np.sqrt(v) + 1e-8)


class Step:
    """One step on two parameters."""

    params: ClassVar = [list(MAKE), LIBRARIES, SIZES]
    param_names: ClassVar = ["optimizer", "library", "size"]

    def setup(self, name: str, library: str, size: str) -> None:
        """Make parameters with gradients, and compile."""
        arrays = [array(*shape) for shape in SHAPES[size]]
        if library == "numpy":
            state = [(a, a.copy(), np.zeros_like(a), np.zeros_like(a)) for a in arrays]
            self.first, self.step = arrays[0], lambda: [by_hand(name, *s) for s in state]
        else:
            parameters = [jg.nn.Parameter(jg.tensor(a)) for a in arrays]
            for p in parameters:
                p.grad = jg.ones_like(p)
            self.first, self.step = parameters[0], MAKE[name](parameters).step
        self.step()

    def time_step(self, name: str, library: str, size: str) -> None:
        """The step."""
        self.step()
        touch(self.first)
