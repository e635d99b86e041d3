"""Reductions: rows of elements to one value each; how rows are shared out over threads is in rows.py."""

from __future__ import annotations

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda.layout import DeviceArray, copied, flat, new, reshaped
from jitgrad.kernels.cuda.rows import dims_last, divide, lanes_of, row_moments, row_sums
from jitgrad.kernels.jit import cuda_jit, launch
from jitgrad.shapes import reduced_shape

_FLOAT64, _INT64 = np.dtype(np.float64), np.dtype(np.int64)


def sum(x: DeviceArray, dims: tuple[int, ...], keepdim: bool) -> DeviceArray:
    """y[i] = sum over dims of x[i, k]; int64 for bools and ints."""
    data, rows, length = dims_last(x, dims)
    y = row_sums(data, rows, length, x.dtype if x.dtype.kind == "f" else _INT64)
    return reshaped(y, reduced_shape(tuple(x.shape), dims, keepdim))


def mean(x: DeviceArray, dims: tuple[int, ...], keepdim: bool) -> DeviceArray:
    """y[i] = sum over dims of x[i, k] / K."""
    data, rows, length = dims_last(x, dims)
    y = new(reduced_shape(tuple(x.shape), dims, keepdim), x.dtype)
    divide(row_sums(data, rows, length, _FLOAT64), length, flat(y))
    return y


def var(x: DeviceArray, dims: tuple[int, ...], keepdim: bool, correction: int) -> DeviceArray:
    """y[i] = sum over dims of (x[i, k] - mean)**2 / max(K - correction, 0), in two passes."""
    data, rows, length = dims_last(x, dims)
    y = new(reduced_shape(tuple(x.shape), dims, keepdim), x.dtype)
    divide(row_moments(data, rows, length)[1], max(length - correction, 0), flat(y))
    return y


def amax(x: DeviceArray, dims: tuple[int, ...], keepdim: bool) -> DeviceArray:
    """y[i] = max over dims of x[i, k]; NaN where one is NaN."""
    data, rows, length = dims_last(x, dims)
    y = new((rows,), x.dtype)
    lanes = lanes_of(length)
    if lanes > 1:
        parts = new((rows * lanes,), x.dtype)
        launch(_amax, rows * lanes, data, length, lanes, parts)
        data, length = parts, lanes
    launch(_amax, rows, data, length, 1, y)
    return reshaped(y, reduced_shape(tuple(x.shape), dims, keepdim))


@cuda_jit
def _amax(x, length, lanes, out):
    i = cuda.grid(1)
    if i < out.size:
        start = i // lanes * length
        best = x[start + i % lanes]
        for k in range(i % lanes + lanes, length, lanes):
            value = x[start + k]
            if value > best or value != value:
                best = value
        out[i] = best


def argmax(x: DeviceArray, dim: int | None, keepdim: bool) -> DeviceArray:
    """y[i] = the first k of the largest x[i, k], NaN being the largest; over all elements where dim is None."""
    if dim is None:
        index = _row_argmax(flat(x), 1, x.size)
        return reshaped(index, (1,) * x.ndim if keepdim else ())
    return max_dim(x, dim, keepdim)[1]


def max_dim(x: DeviceArray, dim: int, keepdim: bool) -> tuple[DeviceArray, DeviceArray]:
    """y[i] = max over k of x[i, k], and the first k that has it; NaN is the largest."""
    dims = (dim,) if x.ndim else ()
    data, rows, length = dims_last(x, dims)
    index = _row_argmax(data, rows, length)
    y = new((rows,), x.dtype)
    launch(_pick, rows, data, length, index, y)
    shape = reduced_shape(tuple(x.shape), dims, keepdim)
    return reshaped(y, shape), reshaped(index, shape)


def max_dim_grad(g: DeviceArray, indices: DeviceArray, x_shape: tuple[int, ...], dim: int) -> DeviceArray:
    """gx[i] = g where i is the index of its maximum, 0 elsewhere."""
    gx = new(x_shape, g.dtype)
    n, inner = (x_shape[dim], gx.strides[dim] // gx.dtype.itemsize) if x_shape else (1, 1)
    launch(_max_dim_grad, gx.size, flat(g), flat(indices), n, inner, flat(gx))
    return gx


@cuda_jit
def _max_dim_grad(g, indices, n, inner, out):
    i = cuda.grid(1)
    if i < out.size:
        at = i // (n * inner) * inner + i % inner
        out[i] = g[at] if indices[at] == i // inner % n else 0


def _row_argmax(x: DeviceArray, rows: int, length: int) -> DeviceArray:
    lanes = lanes_of(length)
    parts = new((rows * lanes,), _INT64)
    launch(_argmax, rows * lanes, x, length, lanes, parts)
    if lanes == 1:
        return parts
    index = new((rows,), _INT64)
    launch(_argmax_of_lanes, rows, x, length, lanes, parts, index)
    return index


@cuda_jit
def _argmax(x, length, lanes, out):
    i = cuda.grid(1)
    if i < out.size:
        start = i // lanes * length
        place = i % lanes
        best = x[start + place]
        for k in range(place + lanes, length, lanes):
            value = x[start + k]
            if value > best or (value != value and best == best):
                best = value
                place = k
        out[i] = place


@cuda_jit
def _argmax_of_lanes(x, length, lanes, parts, out):
    i = cuda.grid(1)
    if i < out.size:
        place = parts[i * lanes]
        best = x[i * length + place]
        for lane in range(1, lanes):
            k = parts[i * lanes + lane]
            value = x[i * length + k]
            same = value == best or (value != value and best != best)
            if value > best or (value != value and best == best) or (same and k < place):
                best = value
                place = k
        out[i] = place


@cuda_jit
def _pick(x, length, index, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = x[i * length + index[i]]


def sum_to(x: DeviceArray, shape: tuple[int, ...]) -> DeviceArray:
    """y[i] = sum of the x[j] that i was broadcast to."""
    given = tuple(x.shape)
    lead = len(given) - len(shape)
    dims = tuple(d for d, n in enumerate(given) if d < lead or (shape[d - lead] == 1 and n != 1))
    if not dims:
        return copied(x)
    return reshaped(sum(x, dims, True), shape)
