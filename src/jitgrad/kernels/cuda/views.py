"""Views, copies and casts. Strides and offsets are in bytes, offsets count from element zero of `x`."""

from __future__ import annotations

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda import layout
from jitgrad.kernels.cuda.create import full
from jitgrad.kernels.cuda.layout import (
    DeviceArray,
    contiguous,
    copied,
    copy_strided,
    expanded,
    flat,
    new,
    overlap,
    permuted,
    strided,
    upload,
)
from jitgrad.kernels.jit import cuda_jit, launch
from jitgrad.shapes import Item, index_geometry, inferred_shape, memory_span, reshape_geometry

_FLOAT32, _INT64 = np.dtype(np.float32), np.dtype(np.int64)
_LOWEST = np.int64(-(2**63))


def as_strided(x: DeviceArray, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> DeviceArray:
    """y[i] = the element at byte offset + sum(i * strides) after x[0]; a view on the memory of `x`."""
    return strided(x, shape, strides, offset)


def reshape(x: DeviceArray, shape: tuple[int, ...]) -> DeviceArray:
    """y = x under another shape; ValueError where that takes a copy."""
    geometry = reshape_geometry(tuple(x.shape), x.strides, x.dtype.itemsize, inferred_shape(tuple(x.shape), shape))
    if geometry is None:
        raise ValueError("these strides cannot be had without a copy")
    return strided(x, *geometry)


def permute(x: DeviceArray, dims: tuple[int, ...]) -> DeviceArray:
    """y's dim i is dim dims[i] of `x`."""
    return permuted(x, dims)


def index(x: DeviceArray, items: tuple[Item, ...]) -> DeviceArray:
    """y = x[items], with basic indexing."""
    return strided(x, *index_geometry(tuple(x.shape), x.strides, items))


def address(x: DeviceArray) -> int:
    """Address of element zero."""
    return layout.address(x)


def clone(x: DeviceArray) -> DeviceArray:
    """y[i] = x[i], C-contiguous."""
    return copied(x)


def cast(x: DeviceArray, dtype: np.dtype) -> DeviceArray:
    """y[i] = dtype(x[i]); to bool x[i] != 0, from float to int truncated towards zero."""
    dtype = np.dtype(dtype)
    if x.dtype == dtype:
        return copied(x)
    if x.dtype.kind in "iu" and dtype.kind in "iu" and dtype.itemsize <= x.dtype.itemsize:
        return copied(strided(x, tuple(x.shape), x.strides, 0, dtype))  # the low bytes: little-endian, values wrap
    between = _between(x.dtype, dtype)
    if between is not None:
        return cast(cast(x, between), dtype)
    y = new(tuple(x.shape), dtype)
    kernel = _to_bool if dtype.kind == "b" else _truncate if x.dtype.kind == "f" and dtype.kind == "i" else _cast
    launch(kernel, y.size, flat(x), flat(y))
    return y


def _between(old: np.dtype, dtype: np.dtype) -> np.dtype | None:
    """The dtype to go through where the direct step is undefined or missing on a card."""
    half = np.dtype(np.float16)
    if (old == half and dtype.kind != "f") or (dtype == half and old.kind != "f"):
        return _FLOAT32
    if old.kind == "f" and dtype.kind in "iu" and dtype != _INT64:
        return _INT64  # so that values out of range wrap around
    return None


@cuda_jit
def _cast(x, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = x[i]


@cuda_jit
def _truncate(x, out):
    i = cuda.grid(1)
    if i < out.size:
        value = np.float64(x[i])
        # NaN and what int64 cannot hold become its lowest value, as on the CPU; a plain cast is undefined there.
        out[i] = np.int64(value) if -(2.0**63) <= value < 2.0**63 else _LOWEST


@cuda_jit
def _to_bool(x, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = x[i] != 0


def copy_(dst: DeviceArray, src: DeviceArray) -> None:
    """dst[i] = src[i], src broadcast to dst; by way of a copy where the two overlap."""
    if overlap(dst, src):
        src = copied(src)
    copy_strided(dst, expanded(src, tuple(dst.shape)))


def as_strided_grad(
    g: DeviceArray,
    x_shape: tuple[int, ...],
    x_strides: tuple[int, ...],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
) -> DeviceArray:
    """gx = as_strided transposed: memory of zeros, g[i] added at offset + sum(i * strides), read as `x` lay on it.

    Elements of `x` that share memory share its gradient in equal parts; what lies outside of `x` is dropped. Where
    several g meet, atomics add them in any order: the last bits may differ from run to run.
    """
    dtype, item = g.dtype, g.dtype.itemsize
    if dtype.itemsize == 2:  # a card adds no float16 atomically; strides in bytes double with the items
        doubled = [tuple(2 * s for s in each) for each in (x_strides, strides)]
        wide = as_strided_grad(cast(g, _FLOAT32), x_shape, doubled[0], shape, doubled[1], 2 * offset)
        return cast(wide, dtype)
    low, high = memory_span(x_shape, x_strides, item)
    if 0 not in shape:
        first, last = memory_span(shape, strides, item)
        low, high = min(low, first + offset), max(high, last + offset)
    memory = full(((high - low) // item,), 0, dtype)
    _scatter_add(g, strides, offset - low, memory)
    count = full(((high - low) // item,), 0, dtype)
    _scatter_add(full(x_shape, 1, dtype), x_strides, -low, count)
    launch(_divide_where_shared, memory.size, count, memory)
    return copied(strided(memory, x_shape, x_strides, -low))


def _scatter_add(g: DeviceArray, strides: tuple[int, ...], offset: int, memory: DeviceArray) -> None:
    """memory[offset + sum(i * strides)] += g[i], strides and offset in bytes."""
    item = memory.dtype.itemsize
    places = new((2, g.ndim), _INT64) if g.ndim == 0 else upload(np.array([tuple(g.shape), strides]) // [[1], [item]])
    launch(_add_at, g.size, flat(g), flat(places), g.ndim, offset // item, memory)


@cuda_jit
def _add_at(g, places, ndim, first, out):
    i = cuda.grid(1)
    if i < g.size:
        at, rest = first, i
        for d in range(ndim - 1, -1, -1):  # places: ndim sizes, then ndim strides
            at += rest % places[d] * places[ndim + d]
            rest //= places[d]
        cuda.atomic.add(out, at, g[i])


@cuda_jit
def _divide_where_shared(count, out):
    i = cuda.grid(1)
    if i < out.size and count[i] > 1:
        out[i] = out[i] / count[i]


def as_strided_scatter(x: DeviceArray, src: DeviceArray, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> DeviceArray:
    """y = x, with src[i] at offset + sum(i * strides); `x` is C-contiguous."""
    y = copied(x)
    copy_strided(strided(y, shape, strides, offset), expanded(src, shape))
    return y


def to_host(x: DeviceArray) -> np.ndarray:
    """y = x in host memory."""
    return contiguous(x).copy_to_host()


def from_host(x: np.ndarray) -> DeviceArray:
    """y = x in device memory."""
    return upload(x)
