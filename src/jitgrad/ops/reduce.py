"""Reductions over any dims: sum, mean, var, amax, max, argmax."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from jitgrad import dtypes
from jitgrad.autograd import BROADCAST_TO, Primitive, Tensor, cast, scalar
from jitgrad.errors import DTypeError, ShapeError
from jitgrad.ops._operands import pointwise_float
from jitgrad.ops.create import arange_like
from jitgrad.ops.pointwise import MUL, eq, mul, sub, where
from jitgrad.ops.views import reshape
from jitgrad.shapes import ALL_DIMS, Shape, normalize_dim, normalize_dims, reduced_shape

Dim = int | tuple[int, ...] | list[int] | None


def _sum_infer(x: Any, dims: tuple[int, ...], keepdim: bool) -> tuple[Shape, Any]:
    dtype = x.dtype
    if dtype.char not in dtypes.COMPUTED_FLOATS:
        dtypes.refuse_float16("sum", dtype)
        dtype = dtypes.int64.numpy
    return reduced_shape(x.shape, dims, keepdim), dtype


def _float_infer(name: str) -> Any:
    check = pointwise_float(name)
    return lambda x, dims, keepdim: (reduced_shape(check(x)[0], dims, keepdim), x.dtype)


_var_infer = _float_infer("var")


def nonempty(name: str, x: Any, dims: tuple[int, ...]) -> None:
    """Raise where a maximum or a minimum over dims is one of nothing."""
    dtypes.refuse_float16(name, x.dtype)
    for d in dims:
        if x.ndim and x.shape[d] == 0:
            raise EmptyReduction(f"{name}: dim {d} of shape {x.shape} has size 0, and nothing has no {name}.")


class EmptyReduction(ShapeError, IndexError):
    """A maximum over no elements; PyTorch raises IndexError here."""


def _amax_infer(x: Any, dims: tuple[int, ...], keepdim: bool) -> tuple[Shape, Any]:
    nonempty("amax", x, dims)
    return reduced_shape(x.shape, dims, keepdim), x.dtype


def _argmax_infer(x: Any, dim: int | None, keepdim: bool) -> tuple[Shape, Any]:
    return _index_infer("argmax", x, dim, keepdim)


def _index_infer(name: str, x: Any, dim: int | None, keepdim: bool) -> tuple[Shape, Any]:
    dims = tuple(range(x.ndim)) if dim is None else (dim,)
    nonempty(name, x, dims)
    return reduced_shape(x.shape, dims if x.ndim else (), keepdim), dtypes.int64.numpy


def _max_dim_infer(x: Any, dim: int, keepdim: bool) -> list[tuple[Shape, Any]]:
    shape, index = _index_infer("max", x, dim, keepdim)
    return [(shape, x.dtype), (shape, index)]


def _spread(g: Tensor, x_shape: Shape, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """g, of the reduced shape, as a view with the shape that was reduced."""
    if not keepdim and len(dims) < len(x_shape):
        g = reshape(g, *reduced_shape(x_shape, dims, True))
    return BROADCAST_TO.apply(g, x_shape)


def _count(shape: Shape, dims: tuple[int, ...]) -> int:
    return prod([shape[d] for d in dims])


def _freedom(shape: Shape, dims: tuple[int, ...], correction: float) -> float:
    n = _count(shape, dims) - correction
    return n if n > 0 else 0


def _over(g: Tensor, n: float) -> Tensor:
    """g / n, inf or nan where n is 0."""
    return MUL.apply(g, scalar(1 / n if n else float("inf"), g.array.dtype, g))


SUM: Primitive = Primitive(
    "sum", "x", _sum_infer,
    grad_x=lambda g, x_shape, dims, keepdim: (
        BROADCAST_TO.apply(g, x_shape) if len(dims) == len(x_shape) else _spread(g, x_shape, dims, keepdim)
    ),
)  # fmt: skip
MEAN: Primitive = Primitive(
    "mean", "x", _float_infer("mean"),
    grad_x=lambda g, x_shape, dims, keepdim: _spread(_over(g, _count(x_shape, dims)), x_shape, dims, keepdim),
)  # fmt: skip
VAR: Primitive = Primitive(
    "var", "x", lambda x, dims, keepdim, correction: _var_infer(x, dims, keepdim),
    grad_x=lambda g, x, dims, keepdim, correction: mul(
        _spread(_over(g, _freedom(x.shape, dims, correction) / 2), x.shape, dims, keepdim),
        sub(x, MEAN.apply(x, dims, True)),
    ),
)  # fmt: skip
AMAX: Primitive = Primitive("amax", "x", _amax_infer, grad_x=lambda g, x, y, dims, keepdim: _amax_grad(g, x, y, dims, keepdim))
ARGMAX: Primitive = Primitive("argmax", "x", _argmax_infer)
MAX_DIM: Primitive = Primitive(
    "max_dim", "x", _max_dim_infer, outputs="values indices",
    grad_x=lambda g, x_shape, indices, dim: MAX_DIM_GRAD.apply(g[0], indices, x_shape, dim),
)  # fmt: skip

# g at the index of each maximum, 0 elsewhere.
MAX_DIM_GRAD: Primitive = Primitive(
    "max_dim_grad", "g indices", lambda g, indices, x_shape, dim: (x_shape, g.dtype),
    grad_g=lambda u, indices, dim: _at_indices(u, indices, dim),
)  # fmt: skip


def _amax_grad(g: Tensor, x: Tensor, y: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """g shared equally between the elements that are the maximum."""
    # Where the maximum is NaN nothing equals it, and the gradient is NaN: a NaN in training stays visible.
    at = cast(eq(x, _spread(y, x.shape, dims, keepdim)), x.array.dtype)
    share = _spread(g / SUM.apply(at, dims, keepdim), x.shape, dims, keepdim)
    return mul(at, share)


def _at_indices(u: Tensor, indices: Tensor, dim: int) -> Tensor:
    """u where the maxima were: the transpose of max_dim_grad."""
    shape = u.shape
    if not shape:
        return u
    column = tuple(n if i == dim else 1 for i, n in enumerate(shape))
    at = eq(reshape(arange_like(shape[dim], indices), column), reshape(indices, reduced_shape(shape, (dim,), True)))
    return reshape(SUM.apply(where(at, u, scalar(0, u.array.dtype, u)), (dim,), False), indices.shape)


def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum over dims (all of them by default); bools and ints sum to int64.

    Floats accumulate in float64 over blocks. The sum over a dim of size 0 is 0. Gradient: g, spread over the dims.

    >>> import jitgrad as jg
    >>> x = jg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> jg.sum(x, 0).tolist()
    [4.0, 6.0]
    """
    if dtype is not None:
        input = cast(input, dtypes.as_dtype(dtype).numpy)
    return SUM.apply(input, ALL_DIMS[input.array.ndim] if dim is None else normalize_dims(dim, input.array.ndim), keepdim)


def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Mean over dims (all by default) of a float tensor; nan over nothing.

    Gradient: g / n, spread over the dims. Raises DTypeError for ints.

    >>> import jitgrad as jg
    >>> jg.mean(jg.tensor([1.0, 3.0])).item()
    2.0
    """
    if dtype is not None:
        input = cast(input, dtypes.as_dtype(dtype).numpy)
    if input.array.dtype.kind != "f":
        raise DTypeError(f"mean: expected a float dtype, given {input.dtype}. Try x.float().mean().")
    return MEAN.apply(input, normalize_dims(dim, input.array.ndim), keepdim)


def var(input: Tensor, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> Tensor:
    """Variance over dims (all by default): sum (x - mean)^2 / (n - correction), in two passes.

    Gradient: g 2 (x - mean) / (n - correction).

    >>> import jitgrad as jg
    >>> jg.var(jg.tensor([1.0, 3.0])).item()
    2.0
    """
    return VAR.apply(input, normalize_dims(dim, input.array.ndim), keepdim, correction)


def amax(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Maximum over dims (all by default); NaN wins.

    Gradient: g shared equally between equal maxima. Raises ShapeError over a dim of size 0.

    >>> import jitgrad as jg
    >>> jg.amax(jg.tensor([[1.0, 5.0], [3.0, 2.0]]), 1).tolist()
    [5.0, 3.0]
    """
    return AMAX.apply(input, normalize_dims(dim, input.array.ndim), keepdim)


class Max(NamedTuple):
    """Maxima and where they are."""

    values: Tensor
    indices: Tensor


def max(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The maximum of all elements; with a dim, (values, indices) along it.

    NaN wins, the first of equal maxima gives the index. Gradient: g at that index; without dim shared between equal maxima.

    >>> import jitgrad as jg
    >>> values, indices = jg.max(jg.tensor([[1.0, 5.0], [3.0, 2.0]]), 1)
    >>> indices.tolist()
    [1, 0]
    """
    if dim is None:
        return amax(input, None, keepdim)
    return Max(*MAX_DIM.apply(input, normalize_dim(dim, input.array.ndim), keepdim))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the maximum along dim, of the flattened tensor without one; the first of equals, NaN wins. No gradient.

    >>> import jitgrad as jg
    >>> jg.argmax(jg.tensor([[1.0, 5.0], [3.0, 2.0]]), 1).tolist()
    [1, 0]
    """
    return ARGMAX.apply(input, None if dim is None else normalize_dim(dim, input.array.ndim), keepdim)
