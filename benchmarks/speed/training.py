"""Whole training steps, and the memory they take."""

from typing import ClassVar

import numpy as np

import jitgrad as jg
from jitgrad import demo, nn

from .common import LIBRARIES, SIZES, array, ints, touch

MLP = {"tiny": (32, 64, 32, 10), "large": (256, 512, 512, 10)}  # batch, inputs, hidden, classes
CNN = {"tiny": (64, 8), "large": (32, 32)}  # batch, side of the images


def step(model: nn.Module, optimizer: jg.optim.Optimizer, x: jg.Tensor, labels: jg.Tensor) -> jg.Tensor:
    """zero_grad, forward, backward, update; returns the loss."""
    loss = nn.functional.cross_entropy(model(x), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def step_by_hand(w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The step of the MLP in NumPy."""
    N = len(x)
    h = np.maximum(x @ w1.T + b1, 0)
    z = h @ w2.T + b2
    z -= z.max(1, keepdims=True)
    e = np.exp(z)
    p = e / e.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(N), labels]).mean()
    p[np.arange(N), labels] -= 1
    g = p / N
    gh = g @ w2
    gh[h <= 0] = 0
    for w, gw in ((w2, g.T @ h), (b2, g.sum(0)), (w1, gh.T @ x), (b1, gh.sum(0))):
        w -= np.float32(0.01) * gw
    return loss


class Mlp:
    """Two linear layers, ReLU, cross entropy, SGD."""

    params: ClassVar = [LIBRARIES, SIZES]
    param_names: ClassVar = ["library", "size"]

    def setup(self, library: str, size: str) -> None:
        """Make model and data, and compile."""
        N, D, H, C = MLP[size]
        jg.manual_seed(0)
        model = nn.Sequential(nn.Linear(D, H), nn.ReLU(), nn.Linear(H, C))
        x, labels = array(N, D), ints(C, N)
        if library == "numpy":
            weights = [p.detach().numpy().copy() for p in model.parameters()]
            self.step = lambda: step_by_hand(*weights, x, labels)
        else:
            optimizer, given = jg.optim.SGD(model.parameters(), lr=0.01), (jg.tensor(x), jg.tensor(labels))
            self.step = lambda: step(model, optimizer, *given)
        touch(self.step())

    def time_step(self, library: str, size: str) -> None:
        """The step."""
        touch(self.step())


class Cnn:
    """The demo's model, Adam."""

    params: ClassVar = [SIZES]
    param_names: ClassVar = ["size"]

    def setup(self, size: str) -> None:
        """Make model and data, and compile."""
        N, side = CNN[size]
        jg.manual_seed(0)
        self.model = demo.build_model((side, side))
        self.optimizer = jg.optim.Adam(self.model.parameters())
        self.given = jg.tensor(array(N, 1, side, side)), jg.tensor(ints(10, N))
        self.time_step(size)

    def time_step(self, size: str) -> None:
        """The step."""
        touch(step(self.model, self.optimizer, *self.given))

    def peakmem_step(self, size: str) -> None:
        """Memory of the process at its highest, libraries included."""
        touch(step(self.model, self.optimizer, *self.given))
