"""Softmax and its logarithm: one thread per row, in stable form, with float64 sums.

A row is the elements along `dim`; they lie `inner` apart, and neighbouring threads take neighbouring rows.
"""

from __future__ import annotations

import math
from math import prod

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda.layout import DeviceArray, flat, new
from jitgrad.kernels.jit import cuda_jit, launch


def _rows(x: DeviceArray, dim: int) -> tuple[int, int, int]:
    """Number of rows, their length and the distance of their elements."""
    shape = tuple(x.shape) or (1,)
    length = shape[dim]
    return prod(shape[:dim]) * prod(shape[dim + 1 :]), length, prod(shape[dim + 1 :])


def softmax(x: DeviceArray, dim: int) -> DeviceArray:
    """y[i] = exp(x[i] - max x) / sum over k of exp(x[k] - max x)."""
    y = new(tuple(x.shape), x.dtype)
    sizes = _rows(x, dim)
    launch(_softmax, sizes[0], flat(x), sizes, flat(y))
    return y


@cuda_jit
def _softmax(x, sizes, out):
    rows, length, inner = sizes
    row = cuda.grid(1)
    if row < rows and length > 0:
        first = row // inner * length * inner + row % inner
        last = first + length * inner
        top = x[first]
        for i in range(first, last, inner):
            if x[i] > top or x[i] != x[i]:
                top = x[i]
        total = np.float64(0)
        for i in range(first, last, inner):
            e = math.exp(x[i] - top)
            out[i] = e
            total += e
        for i in range(first, last, inner):
            out[i] = out[i] / total


def log_softmax(x: DeviceArray, dim: int) -> DeviceArray:
    """y[i] = x[i] - max x - log(sum over k of exp(x[k] - max x))."""
    y = new(tuple(x.shape), x.dtype)
    sizes = _rows(x, dim)
    launch(_log_softmax, sizes[0], flat(x), sizes, flat(y))
    return y


@cuda_jit
def _log_softmax(x, sizes, out):
    rows, length, inner = sizes
    row = cuda.grid(1)
    if row < rows and length > 0:
        first = row // inner * length * inner + row % inner
        last = first + length * inner
        top = x[first]
        for i in range(first, last, inner):
            if x[i] > top or x[i] != x[i]:
                top = x[i]
        total = np.float64(0)
        for i in range(first, last, inner):
            total += math.exp(x[i] - top)
        log_total = math.log(total)  # total >= 1, or NaN
        for i in range(first, last, inner):
            out[i] = x[i] - top - log_total


def softmax_grad(g: DeviceArray, y: DeviceArray, dim: int) -> DeviceArray:
    """gx[i] = y[i] * (g[i] - sum over k of g[k] * y[k])."""
    gx = new(tuple(y.shape), y.dtype)
    sizes = _rows(y, dim)
    launch(_softmax_grad, sizes[0], flat(g), flat(y), sizes, flat(gx))
    return gx


@cuda_jit
def _softmax_grad(g, y, sizes, out):
    rows, length, inner = sizes
    row = cuda.grid(1)
    if row < rows:
        first = row // inner * length * inner + row % inner
        last = first + length * inner
        total = np.float64(0)
        for i in range(first, last, inner):
            total += np.float64(g[i]) * y[i]
        for i in range(first, last, inner):
            out[i] = y[i] * (g[i] - total)


def log_softmax_grad(g: DeviceArray, y: DeviceArray, dim: int) -> DeviceArray:
    """gx[i] = g[i] - exp(y[i]) * sum over k of g[k]."""
    gx = new(tuple(y.shape), y.dtype)
    sizes = _rows(y, dim)
    launch(_log_softmax_grad, sizes[0], flat(g), flat(y), sizes, flat(gx))
    return gx


@cuda_jit
def _log_softmax_grad(g, y, sizes, out):
    rows, length, inner = sizes
    row = cuda.grid(1)
    if row < rows:
        first = row // inner * length * inner + row % inner
        last = first + length * inner
        total = np.float64(0)
        for i in range(first, last, inner):
            total += g[i]
        for i in range(first, last, inner):
            out[i] = g[i] - math.exp(y[i]) * total
