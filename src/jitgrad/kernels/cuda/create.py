"""New arrays."""

from __future__ import annotations

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda.layout import DeviceArray, flat, flat_words, new
from jitgrad.kernels.jit import cuda_jit, launch


def empty(shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
    """y[i] = whatever the memory holds."""
    return new(shape, np.dtype(dtype))


def full(shape: tuple[int, ...], value: float, dtype: np.dtype) -> DeviceArray:
    """y[i] = value."""
    y = new(shape, np.dtype(dtype))
    words = flat_words(y)
    with np.errstate(all="ignore"):  # a value that rounds to inf
        bits = np.array(value, y.dtype).view(words.dtype)
    launch(_fill, y.size, bits[()], words)
    return y


@cuda_jit
def _fill(value, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = value


def arange(start: float, step: float, n: int, dtype: np.dtype) -> DeviceArray:
    """y[i] = start + i * step, in float64 or int64 and then rounded to dtype."""
    y = new((n,), np.dtype(dtype))
    number = float if y.dtype.kind == "f" else int
    launch(_arange, n, number(start), number(step), flat(y))
    return y


@cuda_jit
def _arange(start, step, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = start + i * step
