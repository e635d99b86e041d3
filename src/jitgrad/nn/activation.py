"""Activations as layers."""

from __future__ import annotations

from jitgrad.autograd import Tensor
from jitgrad.nn.module import Module
from jitgrad.ops.activation import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus
from jitgrad.ops.pointwise import tanh
from jitgrad.ops.softmax import log_softmax, softmax
from jitgrad.shapes import as_int


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
        return relu(input, self.inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class GELU(Module):
    """``x Phi(x)`` with the normal distribution function Phi, elementwise; with approximate="tanh" its approximation by a tanh.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.

    >>> import jitgrad as jg
    >>> jg.nn.GELU()(jg.tensor([0.0])).tolist()
    [0.0]
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate is expected to be 'none' or 'tanh', given {approximate!r}.")
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return gelu(input, self.approximate)

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


class Sigmoid(Module):
    """``1 / (1 + e^(-x))``, elementwise.

    >>> import jitgrad as jg
    >>> jg.nn.Sigmoid()(jg.tensor([0.0])).tolist()
    [0.5]
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return sigmoid(input)


class SiLU(Module):
    """``x sigmoid(x)``, elementwise; with inplace the input itself is overwritten.

    >>> import jitgrad as jg
    >>> jg.nn.SiLU()(jg.tensor([0.0])).tolist()
    [0.0]
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return silu(input, self.inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
    """``x`` where it is positive, else ``negative_slope x``, elementwise; with inplace the input itself is overwritten.

    >>> import jitgrad as jg
    >>> jg.nn.LeakyReLU(0.5)(jg.tensor([-2.0, 3.0])).tolist()
    [-1.0, 3.0]
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class ELU(Module):
    """``x`` where it is positive, else ``alpha (e^x - 1)``, elementwise; with inplace the input itself is overwritten.

    >>> import jitgrad as jg
    >>> jg.nn.ELU()(jg.tensor([0.0, 3.0])).tolist()
    [0.0, 3.0]
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class Softplus(Module):
    """``log(1 + e^(beta x)) / beta``, elementwise; x itself where ``beta x > threshold``.

    >>> import jitgrad as jg
    >>> jg.nn.Softplus()(jg.tensor([30.0])).tolist()
    [30.0]
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class _Along(Module):
    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        if dim is None:
            raise TypeError(f"{type(self).__name__}: dim is expected to be an int, given None. Try dim=-1, the last.")
        self.dim = as_int(dim, f"{type(self).__name__}: dim")

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
