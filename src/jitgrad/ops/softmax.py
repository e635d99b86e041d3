"""softmax and log_softmax."""

from __future__ import annotations

from typing import Any

from jitgrad import dtypes
from jitgrad.autograd import Primitive, Tensor
from jitgrad.ops._operands import pointwise_float
from jitgrad.ops.pointwise import exp, mul, neg, sub
from jitgrad.ops.reduce import sum
from jitgrad.shapes import Shape, normalize_dim


def _along(name: str) -> Any:
    check = pointwise_float(name)

    def infer(x: Any, dim: int) -> tuple[Shape, Any]:
        dtype = x.dtype
        return (x.shape, dtype) if dtype.char in dtypes.COMPUTED_FLOATS else check(x)

    return infer


def _pair(g: Any, y: Any, dim: int) -> tuple[Shape, Any]:
    return g.shape, g.dtype


SOFTMAX: Primitive = Primitive("softmax", "x", _along("softmax"), grad_x=lambda g, y, dim: SOFTMAX_GRAD.apply(g, y, dim))
# gx = y (g - sum g y), linear in g
SOFTMAX_GRAD: Primitive = Primitive(
    "softmax_grad", "g y", _pair,
    grad_g=lambda u, y, dim: SOFTMAX_GRAD.apply(u, y, dim),
    grad_y=lambda u, g, y, dim: sub(mul(u, sub(g, sum(mul(g, y), dim, True))), mul(g, sum(mul(u, y), dim, True))),
)  # fmt: skip
LOG_SOFTMAX: Primitive = Primitive(
    "log_softmax", "x", _along("log_softmax"), grad_x=lambda g, y, dim: LOG_SOFTMAX_GRAD.apply(g, y, dim)
)  # fmt: skip
# gx = g - e^y sum g
LOG_SOFTMAX_GRAD: Primitive = Primitive(
    "log_softmax_grad", "g y", _pair,
    grad_g=lambda u, y, dim: sub(u, sum(mul(u, exp(y)), dim, True)),
    grad_y=lambda u, g, y, dim: neg(mul(mul(u, exp(y)), sum(g, dim, True))),
)  # fmt: skip


def softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """``e^x / sum e^x`` along dim, computed with the maximum subtracted.

    Gradient: y (g - sum g y). Raises OutOfRangeError (an IndexError) for dim, DTypeError for ints.

    >>> import jitgrad as jg
    >>> jg.softmax(jg.tensor([0.0, 0.0]), 0).tolist()
    [0.5, 0.5]
    """
    x = input if dtype is None else input.to(dtype)
    return SOFTMAX.apply(x, dim if dim.__class__ is int and 0 <= dim < x.array.ndim else normalize_dim(dim, x.array.ndim))


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """``x - log sum e^x`` along dim, computed with the maximum subtracted.

    Gradient: g - e^y sum g.

    >>> import jitgrad as jg
    >>> round(jg.log_softmax(jg.tensor([0.0, 0.0]), 0)[0].item(), 4)
    -0.6931
    """
    x = input if dtype is None else input.to(dtype)
    return LOG_SOFTMAX.apply(x, normalize_dim(dim, x.array.ndim))
