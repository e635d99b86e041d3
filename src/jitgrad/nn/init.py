"""Initialisation in place, under PyTorch's names. Each returns its tensor; draws come from generator, or the default one."""

from __future__ import annotations

from math import ceil, erf, prod, sqrt
from typing import Any

from jitgrad.autograd import Tensor, copy_, no_grad
from jitgrad.errors import ShapeError
from jitgrad.ops.create import arange_like, zeros_like
from jitgrad.ops.elementary import clamp, logical_or
from jitgrad.ops.inplace import fill_, zero_
from jitgrad.ops.matmul import matmul
from jitgrad.ops.pointwise import add, div, eq, exp, ge, gt, lt, mul, sub, where
from jitgrad.ops.random import Generator, rand, randn, randperm
from jitgrad.ops.reduce import sum as sum_of
from jitgrad.ops.views import mT, reshape, unsqueeze


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """Factor by which the standard deviation of weights before a nonlinearity is raised to keep that of the signal.

    1 for linear, conv and sigmoid, 5/3 tanh, sqrt(2) relu, sqrt(2 / (1 + slope^2)) leaky_relu with param its slope (0.01), 3/4 selu.

    >>> from jitgrad import nn
    >>> nn.init.calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity in ("linear", "sigmoid") or nonlinearity in {f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)}:
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
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Generator | None = None
) -> Tensor:  # fmt: skip
    """Fill with numbers of the normal distribution that lie in [a, b]; a and b are values, not numbers of standard deviations.

    Drawn by rejection, from the normal distribution where [a, b] holds much of it, else from the uniform one on [a, b].
    Raises ValueError unless a < b and std > 0.

    >>> import jitgrad as jg
    >>> w = jg.nn.init.trunc_normal_(jg.empty(100), std=3.0)
    >>> bool(abs(w).amax() <= 2.0)
    True
    """
    if not a < b or not std > 0.0:
        raise ValueError(f"trunc_normal_: expected a < b and std > 0, given a={a}, b={b}, std={std}.")
    low, high = (a - mean) / std, (b - mean) / std
    z = _standard_between(tensor, low, high, generator)
    return copy_(tensor, clamp(add(mul(z, std), mean), a, b))  # rounding may have left [a, b]


def _standard_between(like: Tensor, low: float, high: float, generator: Generator | None) -> Tensor:
    """Standard normal numbers in [low, high], by rejection."""
    draw: dict[str, Any] = {"generator": generator, "dtype": like.dtype, "device": like.device}
    likely = 0.5 * (erf(high / sqrt(2)) - erf(low / sqrt(2))) > 0.25
    peak = min(max(0.0, low), high)  # where the density in [low, high] is largest
    reach = sqrt(peak * peak + 80.0)  # beyond it the density is e^-40 of that
    left, right = max(low, -reach), min(high, reach)

    def proposed() -> tuple[Tensor, Tensor]:
        """Numbers, and which of them are refused."""
        if likely:
            z = randn(like.shape, **draw)
            return z, logical_or(lt(z, low), gt(z, high))
        z = add(mul(rand(like.shape, **draw), right - left), left)
        return z, ge(rand(like.shape, **draw), exp(mul(sub(mul(z, z), peak * peak), -0.5)))

    z, missing = proposed()
    while sum_of(missing).item():
        fresh, refused = proposed()
        z, missing = where(missing, fresh, z), mul(missing, refused)
    return z


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


@no_grad()
def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with 1 on its diagonal and 0 elsewhere.

    >>> import jitgrad as jg
    >>> jg.nn.init.eye_(jg.empty(2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: expected 2 dims, given {tensor.shape}.")
    rows, columns = (arange_like(n, tensor) for n in tensor.shape)
    return copy_(tensor, eq(unsqueeze(rows, 1), columns).to(tensor.dtype))


@no_grad()
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill the weight of a convolution so that it copies its channels: 1 in the middle of filter i for channel i, 0 elsewhere.

    >>> import jitgrad as jg
    >>> jg.nn.init.dirac_(jg.empty(1, 1, 3)).tolist()
    [[[0.0, 1.0, 0.0]]]
    """
    shape = tensor.shape
    if not 3 <= len(shape) <= 5:
        raise ShapeError(f"dirac_: expected a weight of 3, 4 or 5 dims, given {shape}.")
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"dirac_: expected groups that divide the {shape[0]} filters, given {groups}.")
    zero_(tensor)
    each, middle = shape[0] // groups, tuple(n // 2 for n in shape[2:])
    for first in range(0, shape[0], each):
        for channel in range(min(each, shape[1])):
            tensor[(first + channel, channel, *middle)] = 1.0
    return tensor


@no_grad()
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Fill so that the rows of (out, ...) flattened to a matrix, or its columns if they are fewer, are orthogonal and gain long.

    Drawn from all such matrices alike: normal numbers, orthogonalized by Gram and Schmidt's method, each twice.
    Source: Saxe, McClelland and Ganguli, Exact solutions to the nonlinear dynamics of learning, 2013.

    >>> import jitgrad as jg
    >>> w = jg.nn.init.orthogonal_(jg.empty(2, 2))
    >>> bool(abs(w @ w.T - jg.tensor([[1.0, 0.0], [0.0, 1.0]])).amax() < 1e-6)
    True
    """
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: expected at least 2 dims, given {tensor.shape}.")
    if not tensor.array.size:
        return tensor
    wide = (tensor.shape[0], prod(tensor.shape[1:]))
    drawn = randn(min(wide), max(wide), generator=generator, dtype=tensor.dtype, device=tensor.device).double()
    q = zeros_like(drawn)
    for i in range(min(wide)):
        row = drawn[i]
        for _ in range(2):  # once leaves rounding errors that grow
            row = sub(row, matmul(matmul(q[:i], row), q[:i]))
        q[i] = div(row, matmul(row, row) ** 0.5)
    q = q if wide[0] <= wide[1] else mT(q)
    return copy_(tensor, reshape(mul(q, gain), tensor.shape).to(tensor.dtype))


@no_grad()
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Fill a matrix with normal numbers of standard deviation std, and a share ``sparsity`` of each column with 0.

    Source: Martens, Deep learning via Hessian-free optimization, 2010.

    >>> import jitgrad as jg
    >>> w = jg.nn.init.sparse_(jg.empty(4, 2), 0.5)
    >>> (w == 0).sum(0).tolist()
    [2, 2]
    """
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_: expected 2 dims, given {tensor.shape}.")
    if not 0.0 <= sparsity <= 1.0:
        raise ValueError(f"sparse_: expected a sparsity from 0 to 1, given {sparsity}.")
    rows, columns = tensor.shape
    normal_(tensor, 0.0, std, generator)
    zeros = ceil(sparsity * rows)
    for column in range(columns):
        tensor[randperm(rows, generator=generator, device=tensor.device)[:zeros], column] = 0.0
    return tensor


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
