"""Tensors cut into parts, repeated, flipped and rolled."""

from __future__ import annotations

from math import prod
from typing import Any

from jitgrad.autograd import Tensor, clone
from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.ops.join import cat
from jitgrad.ops.views import INDEX, expand, flatten, narrow, reshape
from jitgrad.shapes import as_shape, check_new_shape, normalize_dim, normalize_dims


def _size_of(name: str, input: Tensor, dim: int) -> tuple[int, int]:
    """A dim counted from 0, and its size."""
    if not input.ndim:
        raise ShapeError(f"{name}: expected at least 1 dim, given a 0-d tensor.")
    d = normalize_dim(dim, input.ndim)
    return d, input.array.shape[d]


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of so many elements of dim each (the last may be smaller), or of the sizes in a list.

    Gradient: that of each part, at its place. Raises ShapeError where listed sizes do not add up.

    >>> import jitgrad as jg
    >>> [part.tolist() for part in jg.split(jg.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    d, n = _size_of("split", tensor, dim)
    if isinstance(split_size_or_sections, (tuple, list)):
        sizes = as_shape((split_size_or_sections,))
        if sum(sizes) != n or min(sizes, default=0) < 0:
            raise ShapeError(f"split: expected sizes of at least 0 that add up to {n}, the size of dim {d}; given {sizes}.")
    else:
        (step,) = as_shape((split_size_or_sections,))
        if step < 0 or (step == 0 and n):
            raise ArgumentError(f"split: expected parts of at least 1 element, given {step}.")
        sizes = tuple(min(step, n - start) for start in range(0, n, step)) if n else (0,)
    parts, start = [], 0
    for size in sizes:
        parts.append(narrow(tensor, d, start, size))
        start += size
    return tuple(parts)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most so many views of equal size along dim (the last may be smaller).

    >>> import jitgrad as jg
    >>> [part.tolist() for part in jg.chunk(jg.arange(5), 3)]
    [[0, 1], [2, 3], [4]]
    """
    d, n = _size_of("chunk", input, dim)
    (count,) = as_shape((chunks,))
    if count < 1:
        raise ArgumentError(f"chunk: expected at least 1 chunk, given {count}.")
    return split(input, -(-n // count), d) if n else (narrow(input, d, 0, 0),) * count


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The views that stand along dim, without it.

    >>> import jitgrad as jg
    >>> [row.tolist() for row in jg.unbind(jg.tensor([[1, 2], [3, 4]]))]
    [[1, 2], [3, 4]]
    """
    d, n = _size_of("unbind", input, dim)
    before = tuple((0, 1, m) for m in input.array.shape[:d])
    return tuple(INDEX.apply(input, (*before, i)) for i in range(n))


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The tensor so many times along each dim, copied; more numbers than dims make new dims in front.

    Gradient: g summed over the repetitions.

    >>> import jitgrad as jg
    >>> jg.tensor([1, 2]).repeat(2, 2).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    times = as_shape(repeats)
    shape = input.array.shape
    if len(times) < len(shape):
        raise ShapeError(f"repeat: expected a number for each of the {len(shape)} dims of {input.shape}, given {times}.")
    if min(times, default=0) < 0:
        raise ShapeError(f"repeat: expected numbers of at least 0, given {times}.")
    sizes = (*(1,) * (len(times) - len(shape)), *shape)
    target = check_new_shape(tuple(r * n for r, n in zip(times, sizes, strict=True)), input.itemsize)
    x = reshape(input, tuple(m for n in sizes for m in (1, n)))
    x = expand(x, tuple(m for r, n in zip(times, sizes, strict=True) for m in (r, n)))
    return clone(x).reshape(target)


def tile(input: Tensor, *dims: Any) -> Tensor:
    """Like repeat, but fewer numbers than dims count for the last ones.

    >>> import jitgrad as jg
    >>> jg.tile(jg.tensor([[1], [2]]), (2,)).tolist()
    [[1, 1], [2, 2]]
    """
    times = as_shape(dims)
    return repeat(input, (*(1,) * (input.ndim - len(times)), *times))


def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    """Each element so many times in a row along dim, of the flattened tensor without one.

    Gradient: g summed over the repetitions.

    >>> import jitgrad as jg
    >>> jg.repeat_interleave(jg.tensor([1, 2]), 2).tolist()
    [1, 1, 2, 2]
    """
    (times,) = as_shape((repeats,))
    if times < 0:
        raise ArgumentError(f"repeat_interleave: expected a number of at least 0, given {times}.")
    x = flatten(input) if dim is None or not input.ndim else input
    d = 0 if dim is None else normalize_dim(dim, input.ndim)
    shape = x.array.shape
    x = expand(reshape(x, (*shape[: d + 1], 1, *shape[d + 1 :])), (*shape[: d + 1], times, *shape[d + 1 :]))
    return clone(x).reshape((*shape[:d], shape[d] * times, *shape[d + 1 :]))


def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with the order along some dims reversed; ``x[::-1]`` is a view.

    Gradient: g flipped back.

    >>> import jitgrad as jg
    >>> jg.flip(jg.tensor([[1, 2], [3, 4]]), (1,)).tolist()
    [[2, 1], [4, 3]]
    """
    if not dims:
        raise TypeError("flip: expected the dims to reverse, given none. Try x.flip(0).")
    given = as_shape(dims)
    which = normalize_dims(given, input.ndim) if given else ()
    items = tuple((n - 1, -1, n) if d in which and n else (0, 1, n) for d, n in enumerate(input.array.shape))
    return clone(INDEX.apply(input, items))


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved on by shifts along dims, those pushed out coming back at the front; flattened, without dims.

    Gradient: g rolled back.

    >>> import jitgrad as jg
    >>> jg.roll(jg.arange(4), 1).tolist()
    [3, 0, 1, 2]
    """
    steps = as_shape((shifts,))
    if dims is None or dims == ():
        if len(steps) != 1:
            raise ArgumentError(f"roll: expected one shift without dims, given {steps}. Name as many dims as shifts.")
        return reshape(_rolled(flatten(input), steps[0], 0), input.shape)
    which = as_shape((dims,))
    if len(which) != len(steps):
        raise ArgumentError(f"roll: expected as many shifts as dims, given {steps} and {which}.")
    for step, dim in zip(steps, which, strict=True):
        input = _rolled(input, step, _size_of("roll", input, dim)[0])
    return input


def _rolled(x: Tensor, step: int, d: int) -> Tensor:
    n = x.array.shape[d]
    k = step % n if prod(x.array.shape) else 0
    return cat([narrow(x, d, n - k, k), narrow(x, d, 0, n - k)], d)
