"""Views, copies and casts. Strides and offsets are in bytes, offsets count from element zero of `x`.

Copies are NumPy's own: moving bytes between two layouts leaves a Numba loop nothing to win.
"""

from __future__ import annotations

from ctypes import c_ssize_t
from functools import lru_cache

import numpy as np

from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import njit
from jitgrad.shapes import Item, index_key, is_contiguous, memory_span

_ndarray = np.ndarray
HEADER = object.__basicsize__  # the data pointer is the first field of an array after Python's object header
_word_at = c_ssize_t.from_address


def as_strided(x: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> np.ndarray:
    """y[i] = the element at byte offset + sum(i * strides) after x[0]; a view on the memory of `x`."""
    try:
        base = x.base
        if base is None or x.flags.forc:
            return _ndarray(shape, x.dtype, x, offset, strides)
        if type(base) is _ndarray:  # the owner of a strided view; its memory is one block, which NumPy takes as a buffer
            offset_in_base = offset + _word_at(id(x) + HEADER).value - _word_at(id(base) + HEADER).value
            y = _ndarray(shape, x.dtype, base, offset_in_base, strides)
            if not x.flags.writeable:
                y.flags.writeable = False
            return y
    except ValueError:  # not one block, or a region that leaves `x` for the rest of its memory
        pass
    return _as_strided_anywhere(x, shape, strides, offset)


class _Region:
    """Memory described to NumPy; the array made from it keeps `owner` alive."""

    def __init__(self, interface: dict[str, object], owner: np.ndarray) -> None:
        self.__array_interface__ = interface
        self.owner = owner


def _as_strided_anywhere(x: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> np.ndarray:
    address = x.__array_interface__["data"][0] + (0 if 0 in shape else offset)
    data = (address, not x.flags.writeable)
    return np.asarray(_Region({"data": data, "shape": shape, "strides": strides, "typestr": x.dtype.str, "version": 3}, x))


DATA_IN_HEADER = _word_at(id(probe := np.empty(1)) + HEADER).value == probe.__array_interface__["data"][0]
if not DATA_IN_HEADER:
    as_strided = _as_strided_anywhere  # an interpreter whose objects are laid out otherwise


def reshape(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """y = x under another shape; ValueError where that takes a copy."""
    return x.reshape(shape) if x.flags.c_contiguous else x.reshape(shape, copy=False)


def permute(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """y's dim i is dim dims[i] of `x`."""
    return x.transpose(dims)


_key = lru_cache(maxsize=4096)(index_key)


def index(x: np.ndarray, items: tuple[Item, ...]) -> np.ndarray:
    """y = x[items], with basic indexing."""
    return x[_key(items)]


def address(x: np.ndarray) -> int:
    """Address of element zero."""
    at: int = _word_at(id(x) + HEADER).value if DATA_IN_HEADER else x.__array_interface__["data"][0]
    return at


def clone(x: np.ndarray) -> np.ndarray:
    """y[i] = x[i], C-contiguous."""
    return x.copy()


def cast(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """y[i] = dtype(x[i]); to bool x[i] != 0, from float to int truncated towards zero."""
    old = x.dtype
    if old.kind != "f" or dtype.kind == "b" or (dtype.kind == "f" and dtype.itemsize >= old.itemsize):
        return x.astype(dtype, "C")
    # NumPy would warn about NaN and overflow here; np.errstate costs more than a kernel call, which warns of nothing.
    if old.itemsize == 2 or (dtype.itemsize == 2 and dtype.kind == "f"):  # Numba has no float16 on the CPU
        with np.errstate(all="ignore"):
            return x.astype(dtype, "C")
    y = np.empty(x.shape, dtype)
    (_round if dtype.kind == "f" else _truncate)(contiguous(x).reshape(-1), y.reshape(-1))
    return y


@njit
def _round(x, out):
    for i in range(x.size):
        out[i] = x[i]


@njit
def _truncate(x, out):
    for i in range(x.size):
        out[i] = np.int64(x[i])  # by way of int64, so that a negative float wraps around in an unsigned type


def copy_(dst: np.ndarray, src: np.ndarray) -> None:
    """dst[i] = src[i], src broadcast to dst; NumPy copies first where the two overlap."""
    dst[...] = src


def as_strided_grad(
    g: np.ndarray,
    x_shape: tuple[int, ...],
    x_strides: tuple[int, ...],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
) -> np.ndarray:
    """gx = the transpose of as_strided: memory of zeros, g[i] added at offset + sum(i * strides), read as `x` lay on it.

    Elements of `x` that share memory share its gradient in equal parts; what lies outside of `x` is dropped.
    """
    dtype, item = g.dtype, g.dtype.itemsize
    x_at, size, overlaps, x_overlaps, plain = _grad_plan(x_shape, x_strides, shape, strides, offset, item)
    if plain:
        gx = np.zeros(x_shape, dtype)
        as_strided(gx, shape, strides, offset)[...] = g
        return gx
    if dtype.kind == "f" and item == 2 and (overlaps or x_overlaps):  # Numba has no float16 on the CPU
        x_strides, strides = tuple(2 * s for s in x_strides), tuple(2 * s for s in strides)
        return cast(as_strided_grad(g.astype(np.float32), x_shape, x_strides, shape, strides, 2 * offset), dtype)
    memory = np.zeros(size, dtype)
    if overlaps:
        _add_strided(contiguous(g).reshape(-1), *_odometer(shape, strides, item), (x_at + offset) // item, memory)
    else:
        as_strided(memory, shape, strides, x_at + offset)[...] = g
    if x_overlaps:
        count = np.zeros(size, dtype)
        ones = np.ones(x_shape, dtype).reshape(-1)
        _add_strided(ones, *_odometer(x_shape, x_strides, item), x_at // item, count)
        _divide_where_shared(memory, count)
    gx = as_strided(memory, x_shape, x_strides, x_at)
    return gx if gx.flags.c_contiguous else gx.copy()


@lru_cache(maxsize=4096)
def _grad_plan(
    x_shape: tuple[int, ...],
    x_strides: tuple[int, ...],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
    item: int,
) -> tuple[int, int, bool, bool, bool]:
    """Where x[0] lies in memory that spans both regions, its size in elements, who overlaps, and whether x's own will do."""
    low, high = x_low, x_high = memory_span(x_shape, x_strides, item)
    if 0 not in shape:
        first, last = memory_span(shape, strides, item)
        low, high = min(low, first + offset), max(high, last + offset)
    overlaps, x_overlaps = _overlaps(shape, strides, item), _overlaps(x_shape, x_strides, item)
    own = (low, high) == (x_low, x_high) and is_contiguous(x_shape, x_strides, item)
    return -low, (high - low) // item, overlaps, x_overlaps, own and not overlaps


def _overlaps(shape: tuple[int, ...], strides: tuple[int, ...], item: int) -> bool:
    """Whether two elements may share memory: some stride does not step over all that the smaller ones span."""
    if 0 in shape:
        return False
    span = item
    for stride, size in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True) if n != 1):
        if stride < span:
            return True
        span += stride * (size - 1)
    return False


def _odometer(shape: tuple[int, ...], strides: tuple[int, ...], item: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes, strides in elements and the counter that steps through them: three int64 arrays, whatever the dims."""
    sizes = np.array((1, *shape), np.int64)  # one dim at least
    return sizes, np.array((0, *strides), np.int64) // item, np.zeros_like(sizes)


@njit
def _add_strided(g, sizes, strides, index, start, out):
    last = sizes.size - 1
    n, step = sizes[last], strides[last]
    row, at = 0, start
    while row < g.size:
        for i in range(n):
            out[at + i * step] += g[row + i]
        row += n
        dim = last - 1
        while dim >= 0:  # next row: count up, carrying as an odometer does
            index[dim] += 1
            at += strides[dim]
            if index[dim] < sizes[dim]:
                break
            at -= sizes[dim] * strides[dim]
            index[dim] = 0
            dim -= 1


@njit
def _divide_where_shared(x, count):
    for i in range(x.size):
        if count[i] > 1:
            x[i] /= count[i]


def as_strided_scatter(x: np.ndarray, src: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> np.ndarray:
    """y = x, with src[i] at offset + sum(i * strides); `x` is C-contiguous."""
    y = x.copy()
    as_strided(y, shape, strides, offset)[...] = src
    return y


def to_host(x: np.ndarray) -> np.ndarray:
    """y = x: this is the host."""
    return x


def from_host(x: np.ndarray) -> np.ndarray:
    """y = x: this is the host."""
    return x
