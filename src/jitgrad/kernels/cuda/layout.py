"""Memory layout of device arrays, and the one place where a card and the simulator differ.

A card takes neither negative strides nor broadcasts as kernel arguments, and each dtype, rank and layout of an argument
costs a compilation. So kernels get flat C-contiguous arrays only; other layouts pass through `copy_strided`,
whose kernel sees memory as unsigned words and the strides as numbers.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numba import cuda
from numba.core import config

from jitgrad.kernels.jit import cuda_jit, launch
from jitgrad.shapes import contiguous_strides, expand_geometry, is_contiguous, memory_span

DeviceArray = Any  # DeviceNDArray on a card, FakeCUDAArray in the simulator
Shape = tuple[int, ...]

SIMULATED = bool(config.ENABLE_CUDASIM)
_MAX_DIMS = 8  # of one copy launch, after merging; more are looped over on the host
_WORDS = {1: np.dtype(np.uint8), 2: np.dtype(np.uint16), 4: np.dtype(np.uint32), 8: np.dtype(np.uint64)}

if SIMULATED:
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    class _Region:
        """Memory described to NumPy; the array made from it keeps `owner` alive."""

        def __init__(self, interface: dict[str, object], owner: np.ndarray) -> None:
            self.__array_interface__ = interface
            self.owner = owner

    def _view(x: DeviceArray, shape: Shape, strides: Shape, offset: int, dtype: np.dtype) -> DeviceArray:
        data = (address(x) + (0 if 0 in shape else offset), False)
        interface = {"data": data, "shape": shape, "strides": strides, "typestr": dtype.str, "version": 3}
        return FakeCUDAArray(np.asarray(_Region(interface, x._ary)))

    def address(x: DeviceArray) -> int:
        """Address of element zero."""
        return x._ary.__array_interface__["data"][0]

else:
    from numba.cuda.cudadrv.devicearray import DeviceNDArray

    def _view(x: DeviceArray, shape: Shape, strides: Shape, offset: int, dtype: np.dtype) -> DeviceArray:
        memory = None
        if 0 not in shape:  # the end matters: a copy to the host takes all bytes from element zero up to it
            memory = x.gpu_data.view(offset, offset + memory_span(shape, strides, dtype.itemsize)[1])
        return DeviceNDArray(shape, strides, dtype, gpu_data=memory)

    def address(x: DeviceArray) -> int:
        """Address of element zero."""
        return x.__cuda_array_interface__["data"][0]


def strided(x: DeviceArray, shape: Shape, strides: Shape, offset: int = 0, dtype: np.dtype | None = None) -> DeviceArray:
    """A view on the memory of x; strides and offset in bytes, the offset from element zero of x."""
    return _view(x, shape, strides, offset, x.dtype if dtype is None else dtype)


def new(shape: Shape, dtype: np.dtype) -> DeviceArray:
    """A C-contiguous array of whatever the memory holds."""
    return cuda.device_array(shape, dtype)


def upload(x: np.ndarray) -> DeviceArray:
    """A C-contiguous copy of a host array."""
    return cuda.to_device(np.asarray(x, order="C"))


def flat(x: DeviceArray) -> DeviceArray:
    """The elements of x in C order as a 1-D C-contiguous array: its own memory where it can be, else a copy."""
    x = contiguous(x)
    return strided(x, (x.size,), (x.dtype.itemsize,))


def flat_words(x: DeviceArray) -> DeviceArray:
    """Like flat, seen as unsigned integers: for kernels that only move elements."""
    x = contiguous(x)
    item = x.dtype.itemsize
    return strided(x, (x.size,), (item,), 0, _WORDS[item])


def reshaped(x: DeviceArray, shape: Shape) -> DeviceArray:
    """A C-contiguous array under another shape."""
    return strided(x, shape, contiguous_strides(shape, x.dtype.itemsize))


def permuted(x: DeviceArray, dims: Shape) -> DeviceArray:
    """A view whose dim i is dim dims[i] of x."""
    shape, strides = tuple(x.shape), x.strides
    return strided(x, tuple(shape[d] for d in dims), tuple(strides[d] for d in dims))


def expanded(x: DeviceArray, shape: Shape) -> DeviceArray:
    """A view of x broadcast to shape."""
    return strided(x, *expand_geometry(tuple(x.shape), x.strides, shape))


def contiguous(x: DeviceArray) -> DeviceArray:
    """x itself where it is C-contiguous, else a copy that is."""
    return x if is_contiguous(tuple(x.shape), x.strides, x.dtype.itemsize) else copied(x)


def copied(x: DeviceArray) -> DeviceArray:
    """A C-contiguous copy."""
    y = new(tuple(x.shape), x.dtype)
    copy_strided(y, x)
    return y


def overlap(x: DeviceArray, y: DeviceArray) -> bool:
    """Whether the spans of memory of two arrays meet."""
    x_low, x_high = (address(x) + b for b in memory_span(tuple(x.shape), x.strides, x.dtype.itemsize))
    y_low, y_high = (address(y) + b for b in memory_span(tuple(y.shape), y.strides, y.dtype.itemsize))
    return x_low < y_high and y_low < x_high


def copy_strided(dst: DeviceArray, src: DeviceArray) -> None:
    """dst[i] = src[i]: same dtype, same shape, any strides, memory that does not overlap."""
    if dst.size == 0:
        return
    dims = _merged(tuple(dst.shape), dst.strides, src.strides)
    sizes, dst_strides, src_strides = zip(*dims, strict=True) if dims else ((), (), ())
    if len(dims) > _MAX_DIMS:
        for i in range(sizes[0]):
            copy_strided(
                strided(dst, sizes[1:], dst_strides[1:], i * dst_strides[0]),
                strided(src, sizes[1:], src_strides[1:], i * src_strides[0]),
            )
        return
    to, to_first, to_steps = _memory(dst, sizes, dst_strides)
    at, at_first, at_steps = _memory(src, sizes, src_strides)
    n = prod(sizes)
    launch(_copy, n, at, at_first, at_steps, _eight(sizes, 1), n, to_first, to_steps, to)


def _merged(shape: Shape, a: Shape, b: Shape) -> list[tuple[int, int, int]]:
    """(size, stride in a, stride in b) of the fewest dims that walk both arrays."""
    dims: list[tuple[int, int, int]] = []
    for n, s, t in zip(shape, a, b, strict=True):
        if n == 1:
            continue
        if dims and dims[-1][1:] == (n * s, n * t):
            dims[-1] = (dims[-1][0] * n, s, t)
        else:
            dims.append((n, s, t))
    return dims


def _memory(x: DeviceArray, sizes: Shape, strides: Shape) -> tuple[DeviceArray, int, Shape]:
    """All memory that a layout touches as flat words, the place of element zero in it and the strides in elements."""
    item = x.dtype.itemsize
    low, high = memory_span(sizes, strides, item)
    words = strided(x, ((high - low) // item,), (item,), low, _WORDS[item])
    return words, -low // item, _eight(tuple(s // item for s in strides), 0)


def _eight(values: Shape, filler: int) -> Shape:
    """Padded in front: tuples of one length are one signature."""
    return (filler,) * (_MAX_DIMS - len(values)) + tuple(values)


@cuda_jit
def _copy(x, x_first, x_steps, sizes, n, out_first, out_steps, out):
    i = cuda.grid(1)
    if i < n:
        at, to = x_first, out_first
        for d in range(7, -1, -1):
            index = i % sizes[d]
            i //= sizes[d]
            at += index * x_steps[d]
            to += index * out_steps[d]
        out[to] = x[at]
