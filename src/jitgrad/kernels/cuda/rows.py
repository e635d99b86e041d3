"""Rows of elements and their sums, for reductions and normalization.

A row is shared by several threads where it is long: thread `lane` takes elements lane, lane + lanes, ..., so that
neighbouring threads read neighbouring memory, and a second launch combines what they found. The order of additions
depends on shapes alone. Sums of floats are accumulated in float64.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda.layout import DeviceArray, flat, new, permuted
from jitgrad.kernels.jit import cuda_jit, launch

_FLOAT64, _INT64 = np.dtype(np.float64), np.dtype(np.int64)
_LONG = 2048  # elements of a row from which several threads share it
_MAX_LANES = 512


def dims_last(x: DeviceArray, dims: tuple[int, ...]) -> tuple[DeviceArray, int, int]:
    """x with dims moved to the end as a flat array, and its number of rows and their length."""
    shape = tuple(x.shape)
    kept = tuple(d for d in range(x.ndim) if d not in dims)
    return flat(permuted(x, kept + dims)), prod(shape[d] for d in kept), prod(shape[d] for d in dims)


def lanes_of(length: int) -> int:
    """How many threads share a row."""
    return 1 if length < _LONG else min(_MAX_LANES, length // 64)


def _zero(dtype: np.dtype) -> np.generic:
    """Zero of the type in which to accumulate."""
    return np.float64(0) if dtype.kind == "f" else np.int64(0)


def row_sums(x: DeviceArray, rows: int, length: int, dtype: np.dtype) -> DeviceArray:
    """y[r] = sum over k of x[r * length + k], x flat."""
    zero, lanes = _zero(x.dtype), lanes_of(length)
    y = new((rows,), dtype)
    if lanes > 1:
        parts = new((rows * lanes,), _FLOAT64 if x.dtype.kind == "f" else _INT64)
        launch(_sum, rows * lanes, x, zero, length, lanes, parts)
        x, length = parts, lanes
    launch(_sum, rows, x, zero, length, 1, y)
    return y


@cuda_jit
def _sum(x, zero, length, lanes, out):
    i = cuda.grid(1)
    if i < out.size:
        start = i // lanes * length
        total = zero
        for k in range(i % lanes, length, lanes):
            total += x[start + k]
        out[i] = total


def divide(x: DeviceArray, divisor: float, out: DeviceArray) -> None:
    """out[i] = x[i] / divisor, both flat."""
    launch(_divide, out.size, x, float(divisor), out)


@cuda_jit
def _divide(x, divisor, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = x[i] / divisor


def row_moments(x: DeviceArray, rows: int, length: int) -> tuple[DeviceArray, DeviceArray]:
    """Per row of x (flat) the mean and the sum of squared distances from it, in float64."""
    means, squares = new((rows,), _FLOAT64), new((rows,), _FLOAT64)
    divide(row_sums(x, rows, length, _FLOAT64), length, means)
    lanes = lanes_of(length)
    parts = new((rows * lanes,), _FLOAT64)
    launch(_sum_squares, rows * lanes, x, means, length, lanes, parts)
    launch(_sum, rows, parts, np.float64(0), lanes, 1, squares)
    return means, squares


@cuda_jit
def _sum_squares(x, means, length, lanes, out):
    i = cuda.grid(1)
    if i < out.size:
        row = i // lanes
        total = np.float64(0)
        for k in range(i % lanes, length, lanes):
            distance = np.float64(x[row * length + k]) - means[row]
            total += distance * distance
        out[i] = total
