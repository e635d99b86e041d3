"""Views: other shapes and strides on the same memory."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from jitgrad.autograd import AS_STRIDED, AS_STRIDED_GRAD, BROADCAST_TO, Primitive, Tensor, contiguous
from jitgrad.errors import GradError, ShapeError
from jitgrad.shapes import (
    Geometry,
    Item,
    Shape,
    as_shape,
    contiguous_strides,
    index_geometry,
    inferred_shape,
    memory_span,
    normalize_dim,
    normalize_dims,
    permute_geometry,
    remembered,
    reshape_geometry,
)


class NotAView(ShapeError):
    """A shape that these strides cannot have without a copy."""


def _reshape(x: Any, shape: Shape) -> Geometry:
    shape = inferred_shape(tuple(x.shape), as_shape(shape))
    geometry = reshape_geometry(x.shape, x.strides, x.dtype.itemsize, shape)
    if geometry is None:
        raise NotAView(f"view: shape {shape} cannot be had from {x.shape} with strides {x.strides} without a copy. Use x.reshape(...).")
    return geometry


@remembered
def inverse_order(dims: tuple[int, ...]) -> tuple[int, ...]:
    inverse = [0] * len(dims)
    for i, d in enumerate(dims):
        inverse[d] = i
    return tuple(inverse)


RESHAPE: Primitive = Primitive("reshape", "x", geometry=_reshape, kernel="reshape", grad_x=lambda g, x_shape: _reshaped(g, x_shape))
PERMUTE: Primitive = Primitive(
    "permute", "x", kernel="permute", geometry=lambda x, dims: permute_geometry(x.shape, x.strides, dims),
    grad_x=lambda g, dims: PERMUTE.apply(g, inverse_order(dims)),
)  # fmt: skip


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1. A view where strides allow, else a copy.

    Gradient: g in the old shape.

    >>> import jitgrad as jg
    >>> jg.reshape(jg.arange(4), (2, -1)).tolist()
    [[0, 1], [2, 3]]
    """
    return _reshaped(input, shape if len(shape) != 1 or type(shape[0]) is int else as_shape(shape))


def _reshaped(input: Tensor, target: Shape) -> Tensor:
    try:
        return RESHAPE.apply(input, target)
    except NotAView:
        return RESHAPE.apply(contiguous(input), target)


def view(input: Tensor, *shape: Any) -> Tensor:
    """Like reshape, but never a copy: ShapeError where the strides do not allow a view.

    >>> import jitgrad as jg
    >>> jg.arange(4).view(2, 2).tolist()
    [[0, 1], [2, 3]]
    """
    return RESHAPE.apply(input, as_shape(shape))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dims start_dim to end_dim as one.

    >>> import jitgrad as jg
    >>> jg.flatten(jg.zeros(2, 3, 4), 1).shape
    (2, 12)
    """
    shape = input.shape
    if not shape:
        return reshape(input, (1,))
    first, last = normalize_dim(start_dim, len(shape)), normalize_dim(end_dim, len(shape))
    if first > last:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}.")
    n = 1
    for size in shape[first : last + 1]:
        n *= size
    return reshape(input, (*shape[:first], n, *shape[last + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dim as several, whose sizes multiply to its size; one of them may be -1.

    >>> import jitgrad as jg
    >>> jg.unflatten(jg.zeros(2, 12), 1, (3, -1)).shape
    (2, 3, 4)
    """
    shape = input.shape
    at, split = normalize_dim(dim, len(shape)), as_shape((tuple(sizes),))
    if not shape or not split:
        raise ShapeError(f"unflatten: expected a dim and sizes to cut it into, given shape {shape} and {split}.")
    return reshape(input, (*shape[:at], *inferred_shape(shape[at : at + 1], split), *shape[at + 1 :]))


def permute(input: Tensor, *dims: Any) -> Tensor:
    """A view with its dims in another order.

    Gradient: g with the dims put back.

    >>> import jitgrad as jg
    >>> jg.permute(jg.zeros(2, 3, 4), (2, 0, 1)).shape
    (4, 2, 3)
    """
    given = as_shape(dims)
    ndim = input.array.ndim
    order = tuple(normalize_dim(d, ndim) for d in given)
    if len(order) != ndim or len(set(order)) != ndim:
        raise ShapeError(f"permute: expected each of the {ndim} dims once, given {given}.")
    return PERMUTE.apply(input, order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dims exchanged.

    >>> import jitgrad as jg
    >>> jg.transpose(jg.zeros(2, 3), 0, 1).shape
    (3, 2)
    """
    return PERMUTE.apply(input, _exchanged(dim0, dim1, input.array.ndim))


@lru_cache(maxsize=4096, typed=True)
def _exchanged(dim0: int, dim1: int, ndim: int) -> tuple[int, ...]:
    order = list(range(ndim))
    i, j = normalize_dim(dim0, ndim), normalize_dim(dim1, ndim)
    if ndim:
        order[i], order[j] = order[j], order[i]
    return tuple(order)


def t(input: Tensor) -> Tensor:
    """Transpose of a tensor of at most 2 dims.

    >>> import jitgrad as jg
    >>> jg.t(jg.zeros(2, 3)).shape
    (3, 2)
    """
    if input.ndim > 2:
        raise ShapeError(f"t: expected at most 2 dims, given shape {input.shape}. Use transpose or permute.")
    return transpose(input, 0, 1) if input.ndim == 2 else permute(input, tuple(range(input.ndim)))


def mT(input: Tensor) -> Tensor:  # noqa: N802  (PyTorch's name)
    """View with the last two dims exchanged."""
    if input.ndim < 2:
        raise ShapeError(f"mT: expected at least 2 dims, given shape {input.shape}.")
    return transpose(input, -2, -1)


def expand(input: Tensor, *size: Any) -> Tensor:
    """A view in which dims of size 1 are repeated without a copy; -1 keeps a size.

    Gradient: g summed over the repeated dims.

    >>> import jitgrad as jg
    >>> jg.tensor([[1], [2]]).expand(2, 3).tolist()
    [[1, 1, 1], [2, 2, 2]]
    """
    return BROADCAST_TO.apply(input, as_shape(size))


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """A view without dims of size 1: all of them, or those named (a named dim of another size stays).

    >>> import jitgrad as jg
    >>> jg.squeeze(jg.zeros(1, 2, 1), 0).shape
    (2, 1)
    """
    shape = input.shape
    dims = range(len(shape)) if dim is None else () if isinstance(dim, tuple) and not dim else normalize_dims(dim, len(shape))
    return RESHAPE.apply(input, tuple(n for i, n in enumerate(shape) if n != 1 or i not in dims))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a new dim of size 1 at dim.

    >>> import jitgrad as jg
    >>> jg.unsqueeze(jg.zeros(2), 0).shape
    (1, 2)
    """
    shape = input.shape
    i = normalize_dim(dim, len(shape) + 1)
    return RESHAPE.apply(input, (*shape[:i], 1, *shape[i:]))


def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view with any sizes and strides (in elements) inside the memory that input's own elements span.

    Gradient: g added up where it came from. Raises ShapeError where the view would reach outside input's elements.

    >>> import jitgrad as jg
    >>> jg.as_strided(jg.arange(4), (3, 2), (1, 1)).tolist()
    [[0, 1], [1, 2], [2, 3]]
    """
    a = input.array
    item = a.dtype.itemsize
    shape, steps = as_shape((tuple(size),)), as_shape((tuple(stride),))
    if len(shape) != len(steps) or min(shape, default=0) < 0:
        raise ShapeError(f"as_strided: expected as many strides as sizes, and sizes of at least 0; given {shape} and {steps}.")
    strides = tuple(s * item for s in steps)
    offset = 0 if storage_offset is None else (storage_offset - input.storage_offset()) * item
    low, high = memory_span(shape, strides, item)
    first, last = memory_span(a.shape, a.strides, item)
    if 0 not in shape and not first <= offset + low <= offset + high <= last:
        raise ShapeError(f"as_strided: sizes {shape} and strides {steps} reach outside the elements of the input of shape {input.shape}.")
    if input.requires_grad and any(s == 0 and n > 1 for s, n in zip(a.strides, a.shape, strict=True)):
        raise GradError("as_strided: gradients through an expanded input are not supported. Try x.contiguous() first.")
    return AS_STRIDED.apply(input, shape, strides, offset, tuple(a.strides))


# ---- basic indexing
def _index(x: Any, items: tuple[Item, ...]) -> Geometry:
    return index_geometry(tuple(x.shape), x.strides, items)


def _index_grad(g: Tensor, x_shape: Shape, items: tuple[Item, ...]) -> Tensor:
    return AS_STRIDED_GRAD.apply(g, x_shape, *_region(x_shape, g.array.dtype.itemsize, items))


@remembered
def _region(x_shape: Shape, itemsize: int, items: tuple[Item, ...]) -> tuple[Any, ...]:
    """The strides of a contiguous array, and the geometry of the items in it."""
    strides = contiguous_strides(x_shape, itemsize)
    return (strides, *index_geometry(x_shape, strides, items))


INDEX: Primitive = Primitive("index", "x", geometry=_index, kernel="index", grad_x=_index_grad)


def resolve_slice(s: slice, size: int) -> tuple[int, int, int]:
    """A slice as (start, step, number of elements)."""
    start, stop, step = s.indices(size)
    return start, step, len(range(start, stop, step))


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A view of length elements of dim from start.

    >>> import jitgrad as jg
    >>> jg.narrow(jg.arange(4), 0, 1, 2).tolist()
    [1, 2]
    """
    d = normalize_dim(dim, input.array.ndim)
    size = input.array.shape[d] if input.array.ndim else 0
    first = start + size if start < 0 else start
    if length < 0 or not 0 <= first <= size - length:
        raise ShapeError(f"narrow: {length} elements from {start} do not fit dim {d} of size {size}.")
    full = tuple((0, 1, n) for n in input.array.shape[:d])
    return INDEX.apply(input, (*full, (first, 1, length)))
