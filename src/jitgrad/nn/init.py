"""Initialisation in place, under PyTorch's names. Each returns its tensor; draws come from generator, or the default one."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

from jitgrad.autograd import Tensor, copy_, no_grad
from jitgrad.errors import ShapeError
from jitgrad.ops.inplace import fill_
from jitgrad.ops.pointwise import add, mul
from jitgrad.ops.random import Generator, rand, randn


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """Factor by which the standard deviation of weights before a nonlinearity is raised to keep that of the signal.

    1 for linear, conv and sigmoid, 5/3 tanh, sqrt(2) relu, sqrt(2 / (1 + slope^2)) leaky_relu with param its slope (0.01), 3/4 selu.

    >>> from jitgrad import nn
    >>> nn.init.calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity in ("linear", "sigmoid") or nonlinearity.removeprefix("conv").removeprefix("_transpose") in ("1d", "2d", "3d"):
        return 1.0
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"calculate_gain: the slope of leaky_relu is expected to be a number, given {param!r}.")
        return sqrt(2.0 / (1.0 + slope**2))
    gains = {"tanh": 5.0 / 3.0, "relu": sqrt(2.0), "selu": 0.75}
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: expected linear, conv1d ..., sigmoid, tanh, relu, leaky_relu or selu, given {nonlinearity!r}.")
    return gains[nonlinearity]


@no_grad()
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with numbers uniform in [a, b).

    >>> import jitgrad as jg
    >>> 0 <= jg.nn.init.uniform_(jg.empty(1)).item() < 1
    True
    """
    if not a <= b:
        raise ValueError(f"uniform_: expected a <= b, given {a} and {b}.")
    u = rand(tensor.shape, generator=generator, dtype=tensor.dtype, device=tensor.device)
    return copy_(tensor, add(mul(u, b - a), a))


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with numbers of the normal distribution.

    >>> import jitgrad as jg
    >>> jg.nn.init.normal_(jg.empty(2), mean=3.0, std=0.0).tolist()
    [3.0, 3.0]
    """
    if not std >= 0.0:
        raise ValueError(f"normal_: expected std >= 0, given {std}.")
    z = randn(tensor.shape, generator=generator, dtype=tensor.dtype, device=tensor.device)
    return copy_(tensor, add(mul(z, std), mean))


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one number."""
    return fill_(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs that a weight (out, in, ...) connects per element."""
    if len(shape) < 2:
        raise ShapeError(f"fan in and fan out need a weight of at least 2 dims, given {shape}.")
    field = prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode is expected to be 'fan_in' or 'fan_out', given {mode!r}.")
    fan = fans(tensor.shape)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / sqrt(fan) if fan else 0.0


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Generator | None = None
) -> Tensor:  # fmt: skip
    """Fill uniformly in [-r, r), r = gain sqrt(3 / fan).

    Source: He, Zhang, Ren and Sun, Delving deep into rectifiers, 2015, equation 10.

    >>> import jitgrad as jg
    >>> jg.nn.init.kaiming_uniform_(jg.empty(1, 6)).amax().item() <= 1.0
    True
    """
    bound = sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Generator | None = None
) -> Tensor:  # fmt: skip
    """Fill with normal numbers of standard deviation gain / sqrt(fan). Source: as kaiming_uniform_'s."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill uniformly in [-r, r), r = gain sqrt(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward networks, 2010, equation 16.

    >>> import jitgrad as jg
    >>> abs(jg.nn.init.xavier_uniform_(jg.empty(3, 3)).amax().item()) <= 1.0
    True
    """
    bound = gain * sqrt(6.0 / max(sum(fans(tensor.shape)), 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers of standard deviation gain sqrt(2 / (fan_in + fan_out)). Source: as xavier_uniform_'s."""
    return normal_(tensor, 0.0, gain * sqrt(2.0 / max(sum(fans(tensor.shape)), 1)), generator)


def weight_and_bias_(weight: Tensor, bias: Tensor | None) -> None:
    """What Linear and convolutions start from: both uniform in [-1 / sqrt(fan_in), 1 / sqrt(fan_in))."""
    kaiming_uniform_(weight, a=sqrt(5.0))
    if bias is not None:
        fan_in = fans(weight.shape)[0]
        bound = 1.0 / sqrt(fan_in) if fan_in else 0.0
        uniform_(bias, -bound, bound)
