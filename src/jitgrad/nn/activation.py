"""Activations as layers."""

from __future__ import annotations

from jitgrad.autograd import Tensor, write
from jitgrad.nn.module import Module
from jitgrad.ops.pointwise import gelu, relu, tanh
from jitgrad.ops.softmax import log_softmax, softmax


class ReLU(Module):
    """``max(x, 0)``, elementwise; with inplace the input itself is overwritten.

    >>> import jitgrad as jg
    >>> jg.nn.ReLU()(jg.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return write(input, "relu_", lambda: relu(input)) if self.inplace else relu(input)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class GELU(Module):
    """``x Phi(x)`` with the normal distribution function Phi, elementwise.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.

    >>> import jitgrad as jg
    >>> jg.nn.GELU()(jg.tensor([0.0])).tolist()
    [0.0]
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate != "none":
            raise ValueError(f"GELU: approximate is expected to be 'none', given {approximate!r}.")
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return gelu(input)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Tanh(Module):
    """``tanh(x)``, elementwise.

    >>> import jitgrad as jg
    >>> jg.nn.Tanh()(jg.tensor([0.0])).tolist()
    [0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return tanh(input)


class _Along(Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise TypeError(f"{type(self).__name__}: dim is expected to be an int, given {dim!r}. Try dim=-1, the last.")
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_Along):
    """``e^x / sum e^x`` along dim, which is to be given.

    >>> import jitgrad as jg
    >>> jg.nn.Softmax(dim=0)(jg.tensor([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return softmax(input, self.dim)


class LogSoftmax(_Along):
    """``x - log sum e^x`` along dim, which is to be given.

    >>> import jitgrad as jg
    >>> jg.nn.LogSoftmax(dim=0)(jg.tensor([3.0])).tolist()
    [0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return log_softmax(input, self.dim)
