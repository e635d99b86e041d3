"""What the engine costs: tiny tensors, for which the arithmetic is nothing."""

from typing import ClassVar

import numpy as np

import jitgrad as jg

from .common import LIBRARIES, array, touch

DEPTH = 100


class Overhead:
    """A chain of products, of which each is one node."""

    params: ClassVar = [LIBRARIES]
    param_names: ClassVar = ["library"]

    def setup(self, library: str) -> None:
        """Compile."""
        self.numpy = library == "numpy"
        self.x = array(4) if self.numpy else jg.tensor(array(4), requires_grad=True)
        self.time_chain(library)
        if not self.numpy:
            self.time_chain_backward(library)

    def chain(self) -> object:
        """x to the power of DEPTH + 1."""
        x = y = self.x
        for _ in range(DEPTH):
            y = y * x
        return y

    def time_chain(self, library: str) -> None:
        """Forward, recorded."""
        touch(self.chain())

    def time_chain_backward(self, library: str) -> None:
        """Forward and backward; by hand in NumPy."""
        if self.numpy:
            x, y, g, gx = self.x, self.chain(), np.ones(4, np.float32), np.zeros(4, np.float32)
            for _ in range(DEPTH):
                gx = gx + g * y
                g = g * x
            touch(gx)
            return
        self.chain().sum().backward()
        touch(self.x.grad)
        self.x.grad = None


class NoGrad:
    """The same chain under no_grad."""

    def setup(self) -> None:
        """Compile."""
        self.x = jg.tensor(array(4), requires_grad=True)
        self.time_chain()

    def time_chain(self) -> None:
        """Forward, not recorded."""
        y = self.x
        with jg.no_grad():
            for _ in range(DEPTH):
                y = y * self.x
        touch(y)
