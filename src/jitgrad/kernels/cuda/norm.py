"""Normalization: statistics in float64 by two passes over each group of elements, then one thread per element.

A group is a row (layer_norm) or a channel (batch_norm), brought to the form (groups, length). Weight and bias have one number
for each place in a row, or for each channel.
"""

from __future__ import annotations

import math
from math import prod

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda.create import full
from jitgrad.kernels.cuda.layout import DeviceArray, contiguous, copied, copy_strided, flat, new, permuted, reshaped
from jitgrad.kernels.cuda.rows import dims_last, row_moments, row_sums
from jitgrad.kernels.jit import cuda_jit, launch

_FLOAT64 = np.dtype(np.float64)
Shape = tuple[int, ...]


def layer_norm(
    x: DeviceArray, w: DeviceArray | None, b: DeviceArray | None, shape: Shape, eps: float
) -> tuple[DeviceArray, DeviceArray]:  # fmt: skip
    """y = (x - mean) * rstd * w + b over the last dims, which have that shape; also [mean, rstd], (2, rows)."""
    n, eps = prod(shape), float(eps)
    rows = x.size // n if n else 0
    data, y = flat(x), new((x.size,), x.dtype)
    means, squares = row_moments(data, rows, n)
    stats = new((2, rows), x.dtype)
    launch(_row_statistics, rows, means, squares, float(n), eps, flat(stats))
    launch(_scale, x.size, data, means, squares, (n, 1, n, float(n), eps), _vector(w, n, 1, x), _vector(b, n, 0, x), y)
    return reshaped(y, tuple(x.shape)), stats


def layer_norm_grad(
    g: DeviceArray, x: DeviceArray, w: DeviceArray | None, stats: DeviceArray, shape: Shape, eps: float
) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    """gx = rstd * (g w - mean(g w) - xhat * mean(g w xhat)), gw = sum g * xhat, gb = sum g, sums over rows; xhat = (x - mean) * rstd."""
    n = prod(shape)
    rows = g.size // n if n else 0
    data, inputs, values = flat(g), flat(x), flat(stats)
    heights, products, alongs = (new((g.size,), _FLOAT64) for _ in range(3))
    launch(_row_products, g.size, data, inputs, _vector(w, n, 1, g), values, (rows, n), heights, products, alongs)
    sums, dots = row_sums(heights, rows, n, _FLOAT64), row_sums(products, rows, n, _FLOAT64)
    gx = new((g.size,), g.dtype)
    launch(_centre_rows, g.size, heights, inputs, values, sums, dots, (rows, n), gx)
    by_column = tuple(flat(permuted(reshaped(a, (rows, n)), (1, 0))) for a in (alongs, data))
    gw, gb = (row_sums(a, n, rows, g.dtype) for a in by_column)
    return reshaped(gx, tuple(g.shape)), reshaped(gw, shape), reshaped(gb, shape)


def batch_norm(
    x: DeviceArray, w: DeviceArray | None, b: DeviceArray | None, eps: float
) -> tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray]:  # fmt: skip
    """y = (x - mean) / sqrt(var + eps) * w + b for each channel of (N, C, ...); also mean and the biased var, (C,), and both, (2, C)."""
    data, C, n = dims_last(x, _of_channel(x))
    means, squares = row_moments(data, C, n)
    mean, var, stats, y = new((C,), x.dtype), new((C,), x.dtype), new((2, C), x.dtype), new((x.size,), x.dtype)
    launch(_channel_statistics, C, means, squares, float(n), mean, var, flat(stats))
    launch(_scale, x.size, data, means, squares, (n, n, C, float(n), float(eps)), _vector(w, C, 1, x), _vector(b, C, 0, x), y)
    return _channels_back(y, tuple(x.shape)), mean, var, stats


def batch_norm_grad(
    g: DeviceArray, x: DeviceArray, w: DeviceArray | None, stats: DeviceArray, eps: float
) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    """gx = w rstd * (g - mean(g) - xhat * mean(g xhat)), gw = sum g * xhat, gb = sum g for each channel; stats is [mean, var]."""
    data, C, n = dims_last(g, _of_channel(g))
    inputs, _, _ = dims_last(x, _of_channel(x))
    values, products = flat(stats), new((g.size,), _FLOAT64)
    launch(_channel_products, g.size, data, inputs, values, (C, n), float(eps), products)
    sums, dots = row_sums(data, C, n, _FLOAT64), row_sums(products, C, n, _FLOAT64)
    gx, gw, gb = new((g.size,), g.dtype), new((C,), g.dtype), new((C,), g.dtype)
    launch(_centre_channels, g.size, data, inputs, _vector(w, C, 1, g), values, (sums, dots), (C, n), float(eps), gx)
    launch(_rounded, C, dots, gw)
    launch(_rounded, C, sums, gb)
    return _channels_back(gx, tuple(g.shape)), gw, gb


def _vector(w: DeviceArray | None, n: int, value: float, like: DeviceArray) -> DeviceArray:
    """A weight or bias, flat; value everywhere where there is none."""
    return full((n,), value, like.dtype) if w is None else flat(w)


def _of_channel(x: DeviceArray) -> Shape:
    return (0, *range(2, x.ndim))


def _channels_back(x: DeviceArray, shape: Shape) -> DeviceArray:
    """x flat, with channels first, as a C-contiguous array of shape (N, C, ...)."""
    moved = reshaped(x, (shape[1], shape[0], *shape[2:]))
    return contiguous(permuted(moved, (1, 0, *range(2, len(shape)))))


@cuda_jit
def _row_statistics(means, squares, length, eps, out):
    i = cuda.grid(1)
    if i < means.size:
        out[i] = means[i]
        out[means.size + i] = 1.0 / math.sqrt(squares[i] / length + eps)


@cuda_jit
def _channel_statistics(means, squares, length, out_mean, out_var, out_both):
    i = cuda.grid(1)
    if i < means.size:
        var = squares[i] / length
        out_mean[i] = means[i]
        out_var[i] = var
        out_both[i] = means[i]
        out_both[means.size + i] = var


@cuda_jit
def _scale(x, means, squares, sizes, w, b, out):
    i = cuda.grid(1)
    if i < out.size:
        length, step, count, divisor, eps = sizes
        row, place = i // length, i // step % count  # place is that of weight and bias
        out[i] = (x[i] - means[row]) / math.sqrt(squares[row] / divisor + eps) * w[place] + b[place]


@cuda_jit
def _row_products(g, x, w, stats, sizes, out_heights, out_products, out_alongs):
    i = cuda.grid(1)
    if i < g.size:
        rows, length = sizes
        row = i // length
        hat = np.float64(x[i] - stats[row]) * stats[rows + row]
        height = np.float64(g[i]) * w[i % length]
        out_heights[i] = height
        out_products[i] = height * hat
        out_alongs[i] = g[i] * hat


@cuda_jit
def _centre_rows(heights, x, stats, sums, dots, sizes, out):
    i = cuda.grid(1)
    if i < out.size:
        rows, length = sizes
        row = i // length
        rstd = stats[rows + row]
        hat = np.float64(x[i] - stats[row]) * rstd
        out[i] = rstd * (heights[i] - sums[row] / length - hat * (dots[row] / length))


@cuda_jit
def _channel_products(g, x, stats, sizes, eps, out):
    i = cuda.grid(1)
    if i < out.size:
        channels, length = sizes
        row = i // length
        out[i] = np.float64(g[i]) * (x[i] - stats[row]) / math.sqrt(stats[channels + row] + eps)


@cuda_jit
def _centre_channels(g, x, w, stats, totals, sizes, eps, out):
    i = cuda.grid(1)
    if i < out.size:
        channels, length = sizes
        sums, dots = totals
        row = i // length
        rstd = 1.0 / math.sqrt(stats[channels + row] + eps)
        hat = np.float64(x[i] - stats[row]) * rstd
        out[i] = w[row] * rstd * (g[i] - sums[row] / length - hat * (dots[row] / length))


@cuda_jit
def _rounded(x, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = x[i]


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
