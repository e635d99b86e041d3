"""Reductions made of others: minima, standard deviation, product, any and all; and comparisons that end in one answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from jitgrad import dtypes
from jitgrad.autograd import Tensor, cast, scalar, to_device
from jitgrad.errors import DTypeError
from jitgrad.ops.elementary import abs
from jitgrad.ops.join import cat
from jitgrad.ops.pointwise import add, eq, le, lt, mul, ne, neg, sqrt, sub, where
from jitgrad.ops.reduce import Dim, amax, argmax, max, nonempty, sum, var
from jitgrad.ops.views import narrow, reshape
from jitgrad.shapes import normalize_dim, normalize_dims, reduced_shape


def _turned(name: str, x: Tensor, dim: Dim) -> Tensor:
    """What has its maxima over dims where x has its minima; raises under this name where there is none."""
    if isinstance(x, Tensor) and not x.numel():
        nonempty(name, x.array, normalize_dims(dim, x.ndim))
    return _mirrored(x)


def _mirrored(x: Tensor) -> Tensor:
    """x in reverse order, without overflow: -x for floats, -1 - x for ints, 255 - x for uint8, not x for bools."""
    kind = x.array.dtype.kind
    if kind == "f":
        return neg(x)
    return eq(x, False) if kind == "b" else sub(scalar(255 if kind == "u" else -1, x.array.dtype, x), x)


def amin(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Minimum over dims (all by default); NaN wins.

    Gradient: g shared equally between equal minima. Raises ShapeError over a dim of size 0.

    >>> import jitgrad as jg
    >>> jg.amin(jg.tensor([[1.0, 5.0], [3.0, 2.0]]), 1).tolist()
    [1.0, 2.0]
    """
    return _mirrored(amax(_turned("amin", input, dim), dim, keepdim))


class Min(NamedTuple):
    """Minima and where they are."""

    values: Tensor
    indices: Tensor


def min(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The minimum of all elements; with a dim, (values, indices) along it.

    NaN wins, the first of equal minima gives the index. Gradient: g at that index; without dim shared between equal minima.

    >>> import jitgrad as jg
    >>> values, indices = jg.min(jg.tensor([[1.0, 5.0], [3.0, 2.0]]), 1)
    >>> indices.tolist()
    [0, 1]
    """
    if dim is None:
        return amin(input, None, keepdim)
    values, indices = max(_turned("min", input, dim), dim, keepdim)
    return Min(_mirrored(values), indices)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the minimum along dim, of the flattened tensor without one; the first of equals, NaN wins. No gradient.

    >>> import jitgrad as jg
    >>> jg.argmin(jg.tensor([[1.0, 5.0], [3.0, 2.0]]), 1).tolist()
    [0, 1]
    """
    return argmax(_turned("argmin", input.detach(), dim), dim, keepdim)


def std(input: Tensor, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> Tensor:
    """Standard deviation over dims (all by default), the square root of var.

    Gradient: g (x - mean) / ((n - correction) y), and 0 where y is 0.

    >>> import jitgrad as jg
    >>> jg.std(jg.tensor([1.0, 3.0, 5.0])).item()
    2.0
    """
    v = var(input, dim, correction=correction, keepdim=keepdim)
    flat = eq(v, 0)  # where the square root has no derivative
    return where(flat, v, sqrt(where(flat, 1.0, v)))


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Product along a dim, of all elements without one; 1 over none. Bools and ints give int64.

    Halves are multiplied with each other until one element is left. Gradient: g times the product of the others, zeros included.

    >>> import jitgrad as jg
    >>> x = jg.tensor([2.0, 3.0, 0.0], requires_grad=True)
    >>> y = jg.prod(x)
    >>> y.backward()
    >>> y.item(), x.grad.tolist()
    (0.0, [0.0, 0.0, 6.0])
    """
    kind = dtypes.as_dtype(dtype) if dtype is not None else input.dtype if input.is_floating_point() else dtypes.int64
    x = cast(input, kind.numpy)
    if dim is None:
        shape: tuple[int, ...] = (1,) * input.ndim if keepdim else ()
        x, d = reshape(x, (x.numel(),)), 0
    else:
        d = normalize_dim(dim, input.ndim)
        shape = reduced_shape(input.shape, (d,) if input.ndim else (), keepdim)
        x = x if input.ndim else reshape(x, (1,))
    n = x.array.shape[d]
    if not n:
        return add(reshape(sum(x, d), shape), 1)
    while n > 1:
        half = n // 2
        y = mul(narrow(x, d, 0, half), narrow(x, d, half, half))
        x = cat([y, narrow(x, d, n - 1, 1)], d) if n % 2 else y
        n -= half
    return reshape(x, shape)


def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether an element over dims (all by default) is not 0, as bools; False over none. No gradient.

    >>> import jitgrad as jg
    >>> jg.any(jg.tensor([[0, 2], [0, 0]]), 1).tolist()
    [True, False]
    """
    return ne(sum(ne(input, 0), dim, keepdim), 0)


def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether every element over dims (all by default) is not 0, as bools; True over none. No gradient.

    >>> import jitgrad as jg
    >>> jg.all(jg.tensor([[1, 2], [0, 2]]), 1).tolist()
    [True, False]
    """
    return eq(sum(eq(input, 0), dim, keepdim), 0)


# ---- are they the same
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """``|input - other| <= atol + rtol |other|``, elementwise, as bools; infinities are close to themselves, NaN if equal_nan.

    Raises DTypeError for two dtypes. No gradient.

    >>> import jitgrad as jg
    >>> jg.isclose(jg.tensor([1.0, 2.0]), jg.tensor([1.0, 2.1])).tolist()
    [True, False]
    """
    if input.dtype is not other.dtype:
        raise DTypeError(f"isclose: expected equal dtypes, given {input.dtype} and {other.dtype}. Try other.to(input.dtype).")
    if not input.is_floating_point() and not rtol and not atol:
        return eq(input, other)  # float64 cannot tell large ints apart
    kind = dtypes.float64.numpy
    a, b = cast(input.detach(), kind), cast(other.detach(), kind)
    distance = abs(sub(a, b))
    near = le(distance, add(mul(abs(b), rtol), atol))
    close = where(lt(distance, float("inf")), near, eq(a, b))
    return where(ne(a, a), ne(b, b), close) if equal_nan else close


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether isclose holds for all elements, as a Python bool.

    >>> import jitgrad as jg
    >>> jg.allclose(jg.ones(2), jg.ones(2) + 1e-9)
    True
    """
    return bool(all(isclose(input, other, rtol, atol, equal_nan)).item())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements, as a Python bool; NaN equals nothing.

    >>> import jitgrad as jg
    >>> jg.equal(jg.tensor([1, 2]), jg.tensor([1, 2]))
    True
    """
    return input.shape == other.shape and bool(all(eq(input, to_device(other, input.device))).item())
