"""Pure integer arithmetic on shapes and strides; the one place where a shape is computed or checked.

Shapes are tuples of ints. Strides and offsets are in bytes wherever they come with an array. The functions under ``@remembered``
are on the way of every call of an op: a program meets the same few shapes again and again, and looking one up costs a tenth.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from math import prod
from typing import Any, NoReturn

from jitgrad.errors import OutOfRangeError, ShapeError

Shape = tuple[int, ...]
Geometry = tuple[Shape, tuple[int, ...], int]  # shape, strides, offset of a view

remembered = lru_cache(maxsize=4096)
ALL_DIMS = [tuple(range(n)) for n in range(65)]

MAX_DIMS = 64  # NumPy's limit
MAX_BYTES = 2**62  # beyond what a size in bytes can be; keeps NumPy's own OverflowError away


class Size(tuple[int, ...]):
    """What ``Tensor.shape`` is: a tuple of ints that can count elements.

    >>> import jitgrad as jg
    >>> jg.zeros(2, 3).shape.numel()
    6
    """

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements of a tensor of this shape."""
        return prod(self)

    def __getitem__(self, key: Any) -> Any:
        found = tuple.__getitem__(self, key)
        return Size(found) if key.__class__ is slice else found

    def __add__(self, other: Any) -> Any:
        return Size(tuple(self) + other) if isinstance(other, tuple) else NotImplemented


@remembered
def contiguous_strides(shape: Shape, itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of a C-contiguous array."""
    strides = []
    step = itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


@remembered
def is_contiguous(shape: Shape, strides: tuple[int, ...], itemsize: int) -> bool:
    """Whether strides are C-contiguous; dims of size 1 may have any stride, empty arrays are always contiguous."""
    step = itemsize
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size == 0:
            return True
        if size != 1:
            if stride != step:
                return 0 in shape
            step *= size
    return True


def memory_span(shape: Shape, strides: tuple[int, ...], itemsize: int) -> tuple[int, int]:
    """First and one-past-last byte that elements touch, relative to element zero."""
    if 0 in shape:
        return 0, 0
    low = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s < 0)
    high = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s > 0)
    return low, high + itemsize


def normalize_dim(dim: int, ndim: int) -> int:
    """A dim counted from 0; 0-d tensors accept 0 and -1 as in PyTorch."""
    if type(dim) is not int:
        dim = as_int(dim, "dim")
    n = ndim or 1
    if not -n <= dim < n:
        raise OutOfRangeError(f"dim {dim} is out of range: expected -{n} to {n - 1} for {ndim} dimension(s).")
    return dim + n if dim < 0 else dim


@remembered
def _sorted_dims(dims: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    found = sorted([normalize_dim(d, ndim) for d in dims])
    for first, second in itertools.pairwise(found):
        if first == second:
            raise ShapeError(f"dim {first} appears twice in {dims}: name each dim once.")
    return tuple(found) if ndim else ()


def normalize_dims(dim: int | tuple[int, ...] | list[int] | None, ndim: int) -> tuple[int, ...]:
    """Dims counted from 0, sorted; None and () mean all of them."""
    if dim is None:
        return ALL_DIMS[ndim]
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    if not dims:
        return ALL_DIMS[ndim]
    # 1.0 and True are equal to 1, and must not be answered from memory.
    return _sorted_dims(tuple([d if type(d) is int else as_int(d, "dim") for d in dims]), ndim)


@remembered
def reduced_shape(shape: Shape, dims: tuple[int, ...], keepdim: bool) -> Shape:
    """Shape left when dims are reduced."""
    if keepdim:
        return tuple(1 if i in dims else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dims)


@remembered
def broadcast_shapes(*shapes: Shape) -> Shape:
    """Shape that all shapes broadcast to, NumPy's rule."""
    ndim = max(map(len, shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for i, n in enumerate(shape, ndim - len(shape)):
            if n != 1:
                if result[i] not in (1, n):
                    _cannot_broadcast(shapes, ndim - i, result[i], n)
                result[i] = n
    return tuple(result)


def _cannot_broadcast(shapes: tuple[Shape, ...], back: int, m: int, n: int) -> NoReturn:
    raise ShapeError(
        f"shapes {' and '.join(map(str, shapes))} do not broadcast: at dim -{back} expected equal sizes or 1, given {m} and {n}. "
        "Try reshape, unsqueeze or transpose on one of them."
    )


@remembered
def expand_geometry(shape: Shape, strides: tuple[int, ...], target: Shape) -> Geometry:
    """Geometry of a view broadcast to target; -1 keeps a size."""
    lead = len(target) - len(shape)
    if lead < 0:
        raise ShapeError(f"cannot expand {shape} to {target}: expected at least {len(shape)} sizes, given {len(target)}.")
    sizes, steps = [], []
    for i, n in enumerate(target):
        old = shape[i - lead] if i >= lead else 1
        step = strides[i - lead] if i >= lead else 0
        if n == -1:
            if i < lead:
                raise ShapeError(f"cannot expand {shape} to {target}: -1 stands at new dim {i}, which has no size to keep.")
            n = old
        if n < 0:
            raise ShapeError(f"cannot expand {shape} to {target}: size {n} at dim {i} is negative.")
        if n != old:
            if old != 1:
                raise ShapeError(f"cannot expand {shape} to {target}: expected size {old} or -1 at dim {i}, given {n}.")
            step = 0
        sizes.append(n)
        steps.append(step)
    return check_new_shape(tuple(sizes), 1), tuple(steps), 0


@remembered
def permute_geometry(shape: Shape, strides: tuple[int, ...], dims: tuple[int, ...]) -> Geometry:
    """Geometry of a view with its dims reordered; dims are normalised."""
    return tuple(shape[d] for d in dims), tuple(strides[d] for d in dims), 0


@remembered
def inferred_shape(shape: Shape, target: Shape) -> Shape:
    """Target with its one -1 replaced; the number of elements must agree."""
    size = prod(shape)
    if -1 in target:
        i = target.index(-1)
        rest = prod(target[:i]) * prod(target[i + 1 :])
        if -1 in target[i + 1 :]:
            raise ShapeError(f"cannot reshape {shape} to {target}: expected at most one -1.")
        if rest == 0:
            raise ShapeError(f"cannot reshape {shape} to {target}: the size for -1 is ambiguous beside a size 0. Give every size.")
        if size % rest == 0 and min(target) == -1:
            return (*target[:i], size // rest, *target[i + 1 :])
    elif prod(target) == size and min(target, default=0) >= 0:
        return target
    raise ShapeError(f"cannot reshape {shape} to {target}: expected sizes whose product is {size}, given {target}. Try -1 for one of them.")


@remembered
def reshape_geometry(shape: Shape, strides: tuple[int, ...], itemsize: int, target: Shape) -> Geometry | None:
    """Geometry of a view with another shape, or None where only a copy can have it; target has no -1."""
    if is_contiguous(shape, strides, itemsize):
        return target, contiguous_strides(target, itemsize), 0
    # Walk both shapes in blocks of equal size; each block of the old dims must be evenly strided.
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    steps = [0] * len(target)
    i = j = 0
    while i < len(old) and j < len(target):
        n, m, first, start = old[i][0], target[j], i, j
        while n != m:
            if n < m:
                i += 1
                n *= old[i][0]
            else:
                j += 1
                m *= target[j]
        for k in range(first, i):
            if old[k][1] != old[k + 1][0] * old[k + 1][1]:
                return None
        step = old[i][1]
        for k in range(j, start - 1, -1):
            steps[k] = step
            step *= target[k]
        i, j = i + 1, j + 1
    for k in range(j, len(target)):
        steps[k] = itemsize
    return target, tuple(steps), 0


# Basic indexing. An int selects, None adds a dim, (start, step, n) is a slice with its sizes resolved.
Item = int | tuple[int, int, int] | None


@remembered
def index_geometry(xs: Shape, xt: tuple[int, ...], items: tuple[Item, ...]) -> Geometry:
    """Geometry of basic indexing, strides in bytes; raises for what lies outside."""
    shape, strides, offset, d = [], [], 0, 0
    for item in items:
        if item is None:
            shape.append(1)
            strides.append(0)
            continue
        if type(item) is int:
            if not 0 <= item < xs[d]:
                raise OutOfRangeError(f"index {item} is out of range for dim {d} of size {xs[d]}.")
            offset += item * xt[d]
        else:
            start, step, n = item  # type: ignore[misc]
            if n and not (0 <= start < xs[d] and 0 <= start + (n - 1) * step < xs[d]):
                raise OutOfRangeError(f"slice from {start} is out of range for dim {d} of size {xs[d]}.")
            if n:
                offset += start * xt[d]
            shape.append(n)
            strides.append(step * xt[d])
        d += 1
    return (*shape, *xs[d:]), (*strides, *xt[d:]), offset


@remembered
@remembered
def index_key(items: tuple[Item, ...]) -> tuple[Any, ...]:
    """Basic indexing as Python writes it; the ellipsis makes a view of one number an array."""
    return (*(slice(i[0], None if (stop := i[0] + i[1] * i[2]) < 0 else stop, i[1]) if type(i) is tuple else i for i in items), ...)


def conv_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Output size of a convolution along one dim: floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def pool_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Output size of a pooling along one dim; with ceil_mode no window starts in the right padding."""
    if not ceil_mode:
        return conv_size(size, kernel, stride, padding, dilation)
    out = -((size + 2 * padding - dilation * (kernel - 1) - 1) // -stride) + 1
    return out - 1 if (out - 1) * stride >= size + padding else out


def as_ints(value: int | tuple[int, ...] | list[int], count: int, name: str) -> tuple[int, ...]:
    """An int, or so many of them, as a tuple of so many: the sizes of a window of so many dims."""
    if isinstance(value, (tuple, list)):
        if len(value) != count:
            raise ShapeError(f"{name}: expected an int or {count} ints, given {value}.")
        return tuple([as_int(v, name) for v in value])
    return (as_int(value, name),) * count


def as_pair(value: int | tuple[int, ...] | list[int], name: str) -> tuple[int, int]:
    """An int, or two of them, as a pair."""
    first, second = as_ints(value, 2, name)
    return first, second


@remembered
def reaches_input(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """Whether each of the out windows along one dim has an element of the input: a dilated one can step over a small input."""
    return all(any(0 <= o * stride - padding + k * dilation < size for k in range(kernel)) for o in range(out))


def as_shape(sizes: tuple[object, ...]) -> Shape:
    """Sizes given as separate ints or as one sequence."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    for n in sizes:
        if type(n) is not int:
            return tuple([as_int(n, "size") for n in sizes])
    return sizes  # type: ignore[return-value]


def check_new_shape(shape: Shape, itemsize: int) -> Shape:
    """A shape that memory can be asked for: no negative size, fewer bytes than an address has."""
    if min(shape, default=0) < 0:
        raise ShapeError(f"expected sizes of at least 0, given {shape}.")
    if len(shape) > MAX_DIMS:
        raise ShapeError(f"expected at most {MAX_DIMS} dims, given {len(shape)}.")
    if prod(max(n, 1) for n in shape) * itemsize > MAX_BYTES:
        raise ShapeError(f"shape {shape} needs more bytes than memory can have.")
    return shape


def as_int(value: object, name: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected an int, given {value!r}.")
    return int(value.__index__())
