"""Normalization: statistics in float64 by two passes over each row, then one thread per element."""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda.layout import DeviceArray, contiguous, copied, copy_strided, flat, new, permuted, reshaped
from jitgrad.kernels.cuda.rows import dims_last, row_moments, row_sums
from jitgrad.kernels.jit import cuda_jit, launch
from jitgrad.shapes import reduced_shape

_FLOAT64 = np.dtype(np.float64)


def normalize(x: DeviceArray, dims: tuple[int, ...], eps: float) -> tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray]:
    """xhat = (x - mean) * rstd over dims; mean, var (biased), rstd = 1 / sqrt(var + eps) with dims of size 1."""
    data, rows, length = dims_last(x, dims)
    means, squares = row_moments(data, rows, length)
    shape = reduced_shape(tuple(x.shape), dims, True)
    mean, var, rstd = (new(shape, x.dtype) for _ in range(3))
    launch(_statistics, rows, means, squares, float(length), float(eps), flat(mean), flat(var), flat(rstd))
    xhat = new((x.size,), x.dtype)
    launch(_normalize, x.size, data, means, squares, (length, float(length), float(eps)), xhat)
    return _dims_back(xhat, tuple(x.shape), dims), mean, var, rstd


@cuda_jit
def _statistics(means, squares, length, eps, out_mean, out_var, out_rstd):
    i = cuda.grid(1)
    if i < means.size:
        var = squares[i] / length
        out_mean[i] = means[i]
        out_var[i] = var
        out_rstd[i] = 1.0 / math.sqrt(var + eps)


@cuda_jit
def _normalize(x, means, squares, sizes, out):
    i = cuda.grid(1)
    if i < out.size:
        length, divisor, eps = sizes
        row = i // length
        out[i] = (x[i] - means[row]) / math.sqrt(squares[row] / divisor + eps)


def _dims_back(x: DeviceArray, shape: tuple[int, ...], dims: tuple[int, ...]) -> DeviceArray:
    """Undo dims_last: x flat, with dims at the end, as a C-contiguous array of shape."""
    order = tuple(d for d in range(len(shape)) if d not in dims) + dims
    moved = reshaped(x, tuple(shape[d] for d in order))
    return contiguous(permuted(moved, tuple(order.index(d) for d in range(len(shape)))))


def normalize_grad(g: DeviceArray, xhat: DeviceArray, rstd: DeviceArray, dims: tuple[int, ...]) -> DeviceArray:
    """gx = rstd * (g - mean(g) - xhat * mean(g * xhat)), means over dims."""
    data, rows, length = dims_last(g, dims)
    hats, _, _ = dims_last(xhat, dims)
    products = new((g.size,), _FLOAT64)
    launch(_multiply, g.size, data, hats, products)
    sums, dots = row_sums(data, rows, length, _FLOAT64), row_sums(products, rows, length, _FLOAT64)
    gx = new((g.size,), g.dtype)
    launch(_normalize_grad, g.size, data, hats, flat(rstd), sums, dots, length, gx)
    return _dims_back(gx, tuple(g.shape), dims)


@cuda_jit
def _multiply(x, y, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = np.float64(x[i]) * y[i]


@cuda_jit
def _normalize_grad(g, xhat, rstd, sums, dots, length, out):
    i = cuda.grid(1)
    if i < out.size:
        row = i // length
        out[i] = rstd[row] * (g[i] - sums[row] / length - xhat[i] * (dots[row] / length))


def update_running_(
    running_mean: DeviceArray,
    running_var: DeviceArray,
    mean: DeviceArray,
    var: DeviceArray,
    momentum: DeviceArray,
    n: int,
) -> None:
    """running = (1 - momentum) * running + momentum * statistic, in place; var is made unbiased by n / (n - 1)."""
    means, variances = copied(running_mean), copied(running_var)
    launch(_update_running, means.size, flat(mean), flat(var), flat(momentum), n, flat(means), flat(variances))
    copy_strided(running_mean, means)
    copy_strided(running_var, variances)


@cuda_jit
def _update_running(mean, var, momentum, n, out_mean, out_var):
    i = cuda.grid(1)
    if i < out_mean.size:
        m = np.float64(momentum[0])
        unbiased = np.float64(var[i]) * n / (n - 1)
        out_mean[i] = (1 - m) * out_mean[i] + m * mean[i]
        out_var[i] = (1 - m) * out_var[i] + m * unbiased
