"""Elements chosen by index, mask or order: gather, index_select, masked_select, masked_fill, sort, topk, triangles."""

from __future__ import annotations

from typing import Any, NamedTuple

from jitgrad import dtypes
from jitgrad.autograd import Primitive, Tensor, broadcast_to, cast, scalar, to_device, write
from jitgrad.errors import ArgumentError, DTypeError, GatherIndexError, OutOfRangeError, ShapeError
from jitgrad.ops.create import arange_like
from jitgrad.ops.index import TAKE, check_range, getitem
from jitgrad.ops.pointwise import add, ge, le, mul, where
from jitgrad.ops.views import narrow, reshape
from jitgrad.shapes import Shape, broadcast_shapes, contiguous_strides, normalize_dim

# Indices as they are, once it is known that each is one of a dim's elements; counting from the end is not allowed here.
INDEX_IN: Primitive = Primitive(
    "index_in", "idx", lambda idx, size: (idx.shape, idx.dtype), kernel="wrap_index",
    check=lambda idx, size: check_range(idx, 0, size, "elements of this dim", GatherIndexError),
)  # fmt: skip


def _argsort_infer(x: Any, dim: int, descending: bool) -> tuple[Shape, Any]:
    dtypes.refuse_float16("sort", x.dtype)
    return x.shape, dtypes.int64.numpy


ARGSORT: Primitive = Primitive("argsort", "x", _argsort_infer)


def _index(name: str, index: Any, like: Tensor) -> Tensor:
    if not isinstance(index, Tensor) or index.array.dtype.kind not in "iu":
        given = index.dtype if isinstance(index, Tensor) else type(index).__name__
        raise DTypeError(f"{name}: expected an int64 Tensor of indices, given {given}. Try jg.tensor(index).")
    return to_device(cast(index, dtypes.int64.numpy), like.device)


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """``y[i, j] = x[index[i, j], j]`` for dim 0, ``x[i, index[i, j]]`` for dim 1, and so on.

    Parameters
    ----------
    input
        (...), of as many dims as index.
    index
        int64, no larger than input in any other dim than dim; each from 0 to the size of dim - 1.

    Returns the shape of index. Gradient: g added up at the elements it was taken from.
    Raises ShapeError, and OutOfRangeError for an index out of range.

    >>> import jitgrad as jg
    >>> jg.gather(jg.tensor([[1, 2], [3, 4]]), 1, jg.tensor([[1], [0]])).tolist()
    [[2], [3]]
    """
    shape, d = input.array.shape, normalize_dim(dim, input.ndim)
    idx = _index("gather", index, input)
    sizes = idx.array.shape
    if len(sizes) != len(shape) or any(m > n for i, (m, n) in enumerate(zip(sizes, shape, strict=True)) if i != d):
        raise ShapeError(f"gather: expected an index of {len(shape)} dims, at most {tuple(shape)} but in dim {d}; given {tuple(sizes)}.")
    idx = INDEX_IN.apply(idx, shape[d] if shape else 1)
    steps = contiguous_strides(tuple(shape), 1)
    place = mul(idx, steps[d]) if shape else idx
    for i, (n, step) in enumerate(zip(sizes, steps, strict=True)):
        if i != d:
            place = add(place, reshape(mul(arange_like(n, idx), step), (n, *(1,) * (len(sizes) - 1 - i))))
    return TAKE.apply(reshape(input, (input.numel(),)), place)


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices along dim that a 1-d int64 index names, copied.

    Gradient: g added up at the slices it was taken from. Raises OutOfRangeError for an index out of range.

    >>> import jitgrad as jg
    >>> jg.index_select(jg.tensor([[1, 2], [3, 4]]), 1, jg.tensor([1, 1])).tolist()
    [[2, 2], [4, 4]]
    """
    d = normalize_dim(dim, input.ndim)
    idx = _index("index_select", index, input)
    if idx.ndim > 1:
        raise OutOfRangeError(f"index_select: expected an index of 1 dim, given {index.shape}.")
    idx = INDEX_IN.apply(reshape(idx, (idx.numel(),)), input.array.shape[d] if input.ndim else 1)
    if not input.ndim:
        return reshape(getitem(reshape(input, (1,)), idx), ())
    return getitem(input, (*(slice(None),) * d, idx))


def _mask(name: str, mask: Any) -> Tensor:
    if not isinstance(mask, Tensor) or mask.array.dtype.char != "?":
        given = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise DTypeError(f"{name}: expected a bool Tensor as mask, given {given}. Try x > 0.")
    return mask


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where mask is true, as one dim; the two broadcast.

    Gradient: g where mask is true, else 0.

    >>> import jitgrad as jg
    >>> jg.masked_select(jg.tensor([1, 2, 3]), jg.tensor([True, False, True])).tolist()
    [1, 3]
    """
    shape = broadcast_shapes(input.shape, _mask("masked_select", mask).shape)
    return getitem(broadcast_to(input, shape), broadcast_to(mask, shape)) if shape else getitem(reshape(input, (1,)), reshape(mask, (1,)))


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """value (a number or a 0-d Tensor) where mask is true, else input; in input's dtype, and the two broadcast.

    Gradient: g where mask is false to input, the rest to value.

    >>> import jitgrad as jg
    >>> jg.masked_fill(jg.tensor([1, 2, 3]), jg.tensor([True, False, True]), 0).tolist()
    [0, 2, 0]
    """
    if isinstance(value, Tensor) and value.ndim:
        raise ShapeError(f"masked_fill: expected a number or a 0-d Tensor, given shape {value.shape}. Use jg.where.")
    kind = input.array.dtype
    v = to_device(cast(value, kind), input.device) if isinstance(value, Tensor) else scalar(value, kind, input)
    return where(_mask("masked_fill", mask), v, input)


def masked_fill_(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Elements where mask is true become value, in place."""
    return write(input, "masked_fill_", lambda: masked_fill(input, mask, value))


class Sort(NamedTuple):
    """Elements in order, and where they were."""

    values: Tensor
    indices: Tensor


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Indices that put the elements along dim in order; equal ones stay in theirs, stable or not. NaN is the largest. No gradient.

    >>> import jitgrad as jg
    >>> jg.argsort(jg.tensor([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """
    return ARGSORT.apply(input, normalize_dim(dim, input.ndim), bool(descending))


def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Sort:
    """(values, indices) of the elements along dim in order; equal ones stay in theirs, stable or not. NaN is the largest.

    Gradient: g back where the values came from.

    >>> import jitgrad as jg
    >>> values, indices = jg.sort(jg.tensor([3.0, 1.0, 2.0]), descending=True)
    >>> values.tolist(), indices.tolist()
    ([3.0, 2.0, 1.0], [0, 2, 1])
    """
    indices = argsort(input, dim, descending)
    return Sort(gather(input, dim, indices), indices)


class TopK(NamedTuple):
    """The largest or smallest elements, and where they were."""

    values: Tensor
    indices: Tensor


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> TopK:
    """(values, indices) of the k largest (or smallest) elements along dim, always in order; of equals the first. NaN is the largest.

    Gradient: g back where the values came from. Raises ArgumentError for k beyond the size of dim.

    >>> import jitgrad as jg
    >>> values, indices = jg.topk(jg.tensor([3.0, 1.0, 2.0]), 2)
    >>> values.tolist(), indices.tolist()
    ([3.0, 2.0], [0, 2])
    """
    d = normalize_dim(dim, input.ndim)
    n = input.array.shape[d] if input.ndim else 1
    if isinstance(k, bool) or not 0 <= k <= n:
        raise ArgumentError(f"topk: expected k from 0 to {n}, the size of dim {d}, given {k}.")
    indices = argsort(input, d, largest)
    indices = narrow(indices, d, 0, k) if input.ndim else indices
    return TopK(gather(input, d, indices), indices)


def _triangle(name: str, input: Tensor, diagonal: int, compare: Any) -> Tensor:
    if input.ndim < 2:
        raise ShapeError(f"{name}: expected at least 2 dims, given {input.shape}.")
    rows, columns = input.shape[-2:]
    inside = compare(add(reshape(arange_like(rows, input), (rows, 1)), diagonal), arange_like(columns, input))
    return where(inside, input, scalar(0, input.array.dtype, input))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices: ``x[..., i, j]`` where j <= i + diagonal, else 0.

    Gradient: g in the triangle, else 0.

    >>> import jitgrad as jg
    >>> jg.tril(jg.ones(2, 2)).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return _triangle("tril", input, diagonal, ge)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices: ``x[..., i, j]`` where j >= i + diagonal, else 0.

    Gradient: g in the triangle, else 0.

    >>> import jitgrad as jg
    >>> jg.triu(jg.ones(2, 2)).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    return _triangle("triu", input, diagonal, le)
