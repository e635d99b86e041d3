"""cat and stack."""

from __future__ import annotations

from typing import Any

from jitgrad import dtypes
from jitgrad.autograd import Primitive, Tensor, cast
from jitgrad.errors import DTypeError, InputTypeError, ShapeError
from jitgrad.ops.views import INDEX, reshape, unsqueeze
from jitgrad.shapes import Shape, normalize_dim


def _cat_infer(xs: tuple[Any, ...], dim: int) -> tuple[Shape, Any]:
    first = tuple(xs[0].shape)
    total = 0
    for i, x in enumerate(xs):
        shape = tuple(x.shape)
        if len(shape) != len(first) or any(m != n for d, (m, n) in enumerate(zip(shape, first, strict=True)) if d != dim):
            raise ShapeError(
                f"cat: expected sizes equal to those of the first, {first}, but for dim {dim}; tensor {i} has {shape}. "
                "Make the layers that give them agree, or join along another dim."
            )
        if x.dtype != xs[0].dtype:
            raise DTypeError(f"cat: expected equal dtypes, given {xs[0].dtype} and {x.dtype}. Try x.to(jg.{xs[0].dtype}).")
        total += shape[dim]
    return (*first[:dim], total, *first[dim + 1 :]), xs[0].dtype


def _cat_grads(g: Tensor, shapes: list[Shape], dim: int) -> list[Tensor]:
    grads, start = [], 0
    before = tuple([(0, 1, n) for n in shapes[0][:dim]])
    for shape in shapes:
        n = shape[dim]
        grads.append(INDEX.apply(g, (*before, (start, 1, n))))
        start += n
    return grads


CAT = Primitive("cat", "*xs", _cat_infer, grads=_cat_grads)


def _promoted(name: str, tensors: Any) -> list[Tensor]:
    if isinstance(tensors, Tensor) or not hasattr(tensors, "__iter__"):
        raise TypeError(f"{name}: expected a list or tuple of Tensors, given {type(tensors).__name__}.")
    xs = list(tensors)
    if not xs:
        raise ShapeError(f"{name}: expected at least one tensor, given none.")
    for i, x in enumerate(xs):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: expected Tensors, given {type(x).__name__} at {i}.")
    first = xs[0].array.dtype
    if any(x.array.dtype is not first for x in xs):
        dtype = xs[0].dtype
        for x in xs:
            dtype = dtypes.promote_types(dtype, x.dtype)
        xs = [cast(x, dtype.numpy) for x in xs]
    return xs


def _empties_fitted(xs: list[Tensor], dim: int) -> list[Tensor]:
    """Tensors of shape (0,) as empty ones that fit beside the others."""
    shape = next(x.array.shape for x in xs if x.array.shape != (0,))
    d = normalize_dim(dim, len(shape))
    return [reshape(x, (*shape[:d], 0, *shape[d + 1 :])) if x.array.shape == (0,) else x for x in xs]


def cat(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors one after another along a dim they have; other sizes equal, dtypes promoted.

    Gradient: the part of g that each tensor became. Raises ShapeError for other sizes, none, or numbers.

    >>> import jitgrad as jg
    >>> jg.cat([jg.tensor([1]), jg.tensor([2, 3])]).tolist()
    [1, 2, 3]
    """
    if (type(tensors) is list or type(tensors) is tuple) and tensors and type(dim) is int and dim >= 0:
        try:
            return CAT.apply(tensors, dim)
        except (ShapeError, DTypeError, InputTypeError, IndexError):
            pass  # made to fit, or refused, below
    xs = _promoted("cat", tensors)
    ndims = {len(x.array.shape) for x in xs}
    if 0 in ndims:
        raise ShapeError("cat: numbers (0-d tensors) cannot be joined. Use jg.stack.")
    if len(ndims) > 1:  # PyTorch lets an empty 1-d tensor stand beside any other
        xs = _empties_fitted(xs, dim)
    return CAT.apply(xs, normalize_dim(dim, len(xs[0].array.shape)))


def stack(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dim.

    Gradient: the slice of g that each tensor became.

    >>> import jitgrad as jg
    >>> jg.stack([jg.tensor(1), jg.tensor(2)]).tolist()
    [1, 2]
    """
    xs = _promoted("stack", tensors)
    for i, x in enumerate(xs):
        if x.array.shape != xs[0].array.shape:
            raise ShapeError(
                f"stack: expected equal shapes, given {xs[0].shape} and, at {i}, {x.shape}. Use jg.cat for tensors of other sizes."
            )
    d = normalize_dim(dim, len(xs[0].array.shape) + 1)
    return CAT.apply([unsqueeze(x, d) for x in xs], d)
