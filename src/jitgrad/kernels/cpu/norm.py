"""Normalisation of rows (layer_norm) and of channels (batch_norm).

Statistics take two passes over a piece that a cache holds, in the precision of the array: the sum, and then, about the mean m
that follows from it, the sums of distances and of their squares. The sum of distances is what rounding took from m. Pieces are
joined in float64. Gradients of weight and bias are sums over rows, for which each piece of rows has a sum of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy import empty

from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import PARALLEL_MIN, SUM, direct, njit, parallel_form, pays, prange
from jitgrad.kernels.simd import full_vectors
from jitgrad.kernels.simd_norm import distances, products, total

_PIECE = 2048  # elements of a row that are summed in their own precision
_ROWS = 64  # rows that one task works on, and whose columns are summed in their own precision


# ---- one element; not under SUM, which would let the serial and the parallel form reorder it differently ---------------


@njit(inline=True)
def _scaled(x, m, scale, shift):
    return (x - m) * scale + shift


@njit(inline=True)
def _centred(g, x, m, scale, mean, along):
    return scale * (g - mean - (x - m) * along)


# ---- rows ------------------------------------------------------------------------------------------------------------


@njit(inline=True)
def _with_piece(mean, squares, count, piece):
    """Mean, sum of squared distances from it and number of elements, of what came before and a piece of a row."""
    size = piece.size
    share = 1.0 / size
    m = piece.dtype.type(np.float64(total(piece)) * share)
    e, q = distances(piece, m)
    rest = np.float64(e) * share
    here, spread = m + rest, q - e * rest
    if count == 0:
        return here, spread, size
    apart, share = here - mean, size / (count + size)
    return mean + apart * share, squares + spread + apart * apart * count * share, count + size


@njit
def _layer_norm(x, w, b, eps, y, stats):
    n, real = x.shape[1], x.dtype.type
    for o in prange(x.shape[0]):
        full_vectors()
        row, out = x[o], y[o]
        mean, squares, count = 0.0, 0.0, 0
        while count < n:
            mean, squares, count = _with_piece(mean, squares, count, row[count : count + _PIECE])
        rstd = 1.0 / np.sqrt(squares / n + eps)
        m, r, shift = real(mean), real(rstd), real((real(mean) - mean) * rstd)
        stats[0, o], stats[1, o] = m, r
        for i in range(n):
            out[i] = _scaled(row[i], m, r, shift) * w[i] + b[i]


@njit
def _layer_norm_grad(g, x, w, stats, gx, gw, gb, parts):
    rows, n = g.shape
    real = g.dtype.type
    for p in prange(parts.shape[0]):
        full_vectors()
        part_w, part_b = parts[p, 0], parts[p, 1]
        part_w[:] = 0
        part_b[:] = 0
        for o in range(p * _ROWS, min((p + 1) * _ROWS, rows)):
            u, row, out, m, r = g[o], x[o], gx[o], stats[0, o], stats[1, o]
            mean, along = 0.0, 0.0
            for start in range(0, n, _PIECE):
                end = start + _PIECE
                h, hd = products(u[start:end], w[start:end], row[start:end], m)
                mean += h
                along += hd
            s, a = real(mean / n), real(along / n * r * r)
            for i in range(n):
                out[i] = _centred(u[i] * w[i], row[i], m, r, s, a)
            for i in range(n):
                part_b[i] += u[i]
                part_w[i] += u[i] * ((row[i] - m) * r)
    for i in range(n):
        w_total, b_total = 0.0, 0.0
        for p in range(parts.shape[0]):
            w_total += parts[p, 0, i]
            b_total += parts[p, 1, i]
        gw[i], gb[i] = w_total, b_total


# ---- channels of planes: (N, C, elements) ------------------------------------------------------------------------------


@njit
def _batch_norm_planes(x, w, b, eps, y, stats):
    N, C, n = x.shape
    real = x.dtype.type
    for c in prange(C):
        full_vectors()
        mean, squares, count = 0.0, 0.0, 0
        for o in range(N):
            for start in range(0, n, _PIECE):
                mean, squares, count = _with_piece(mean, squares, count, x[o, c, start : start + _PIECE])
        var = squares / count
        rstd = w[c] / np.sqrt(var + eps)
        m, r, shift = real(mean), real(rstd), real((real(mean) - mean) * rstd + b[c])
        stats[0, c], stats[1, c] = m, var
        for o in range(N):
            row, out = x[o, c], y[o, c]
            for i in range(n):
                out[i] = _scaled(row[i], m, r, shift)


@njit
def _batch_norm_grad_planes(g, x, w, stats, eps, gx, gw, gb, ones):
    N, C, n = g.shape
    real = g.dtype.type
    for c in prange(C):
        full_vectors()
        m, s, a = stats[0, c], 0.0, 0.0
        for o in range(N):
            for start in range(0, n, _PIECE):
                piece = g[o, c, start : start + _PIECE]
                h, hd = products(piece, ones[: piece.size], x[o, c, start : start + _PIECE], m)
                s += h
                a += hd
        rstd = 1.0 / np.sqrt(stats[1, c] + eps)
        gw[c], gb[c] = a * rstd, s
        scale, middle, along = real(w[c] * rstd), real(s / (N * n)), real(a * rstd * rstd / (N * n))
        for o in range(N):
            u, row, out = g[o, c], x[o, c], gx[o, c]
            for i in range(n):
                out[i] = _centred(u[i], row[i], m, scale, middle, along)


# ---- channels that are columns: (N, C) ---------------------------------------------------------------------------------


# Sums of columns take several rows at a time, so that they are read and written less often.


@njit(inline=True, fastmath=SUM)
def _column_sums(x, out):
    out[:] = 0
    last = x.shape[0] % 4
    for o in range(0, x.shape[0] - last, 4):
        a, b, c, d = x[o], x[o + 1], x[o + 2], x[o + 3]
        for i in range(out.size):
            out[i] += (a[i] + b[i]) + (c[i] + d[i])
    for o in range(x.shape[0] - last, x.shape[0]):
        a = x[o]
        for i in range(out.size):
            out[i] += a[i]


@njit
def _column_moments(x, parts):
    """Of each piece of rows: a mean m for each column, the sum of distances from it and that of their squares."""
    rows, C = x.shape
    for p in prange(parts.shape[0]):
        full_vectors()
        piece = x[p * _ROWS : min((p + 1) * _ROWS, rows)]
        m, e, q = parts[p, 0], parts[p, 1], parts[p, 2]
        _column_sums(piece, m)
        share = x.dtype.type(1.0 / piece.shape[0])
        for c in range(C):
            m[c] *= share
            e[c] = 0
            q[c] = 0
        for o in range(0, piece.shape[0] - 1, 2):
            here, below = piece[o], piece[o + 1]
            for c in range(C):
                d, f = here[c] - m[c], below[c] - m[c]
                e[c] += d + f
                q[c] += d * d + f * f
        if piece.shape[0] % 2:
            here = piece[piece.shape[0] - 1]
            for c in range(C):
                d = here[c] - m[c]
                e[c] += d
                q[c] += d * d


@njit
def _join_moments(parts, rows, sums):
    """sums[0] and sums[1] become means and sums of squared distances."""
    for p in range(parts.shape[0]):
        size = min(_ROWS, rows - p * _ROWS)
        m, e, q = parts[p, 0], parts[p, 1], parts[p, 2]
        for c in range(m.size):
            sums[0, c] += np.float64(m[c]) * size + e[c]
    for c in range(sums.shape[1]):
        sums[0, c] /= rows
    for p in range(parts.shape[0]):
        size = min(_ROWS, rows - p * _ROWS)
        m, e, q = parts[p, 0], parts[p, 1], parts[p, 2]
        for c in range(m.size):
            apart = m[c] - sums[0, c]
            sums[1, c] += q[c] + apart * (2.0 * e[c] + size * apart)


@njit
def _batch_norm_columns(x, w, b, eps, y, stats, parts, sums):
    _column_moments(x, parts)
    sums[:] = 0
    _join_moments(parts, x.shape[0], sums)
    scale, shift = parts[0, 0], parts[0, 1]
    for c in range(w.size):
        mean, var = sums[0, c], sums[1, c] / x.shape[0]
        rstd = w[c] / np.sqrt(var + eps)
        stats[0, c], stats[1, c] = mean, var
        scale[c], shift[c] = rstd, (stats[0, c] - mean) * rstd + b[c]
    for p in prange(parts.shape[0]):
        full_vectors()
        m, scale, shift = stats[0], parts[0, 0], parts[0, 1]
        for o in range(p * _ROWS, min((p + 1) * _ROWS, x.shape[0])):
            row, out = x[o], y[o]
            for c in range(m.size):
                out[c] = _scaled(row[c], m[c], scale[c], shift[c])


@njit
def _column_products(g, x, mean, parts):
    """Of each piece of rows: sum g (x - m) and sum g for each column."""
    for p in prange(parts.shape[0]):
        full_vectors()
        along, total_g = parts[p, 0], parts[p, 1]
        along[:] = 0
        total_g[:] = 0
        last = min((p + 1) * _ROWS, g.shape[0])
        for o in range(p * _ROWS, last - 1, 2):
            u, here, v, below = g[o], x[o], g[o + 1], x[o + 1]
            for c in range(mean.size):
                total_g[c] += u[c] + v[c]
                along[c] += u[c] * (here[c] - mean[c]) + v[c] * (below[c] - mean[c])
        if last % 2:
            u, here = g[last - 1], x[last - 1]
            for c in range(mean.size):
                total_g[c] += u[c]
                along[c] += u[c] * (here[c] - mean[c])


@njit
def _batch_norm_grad_columns(g, x, w, stats, eps, gx, gw, gb, parts, sums):
    mean, var = stats[0], stats[1]
    _column_products(g, x, mean, parts)
    sums[:] = 0
    for p in range(parts.shape[0]):
        for c in range(mean.size):
            sums[0, c] += parts[p, 0, c]
            sums[1, c] += parts[p, 1, c]
    n = g.shape[0]
    for c in range(mean.size):
        rstd = 1.0 / np.sqrt(var[c] + eps)
        gw[c], gb[c] = sums[0, c] * rstd, sums[1, c]
        parts[0, 0, c], parts[0, 1, c], parts[0, 2, c] = w[c] * rstd, sums[1, c] / n, sums[0, c] * rstd * rstd / n
    for p in prange(parts.shape[0]):
        full_vectors()
        m, scale, middle, along = stats[0], parts[0, 0], parts[0, 1], parts[0, 2]
        for o in range(p * _ROWS, min((p + 1) * _ROWS, g.shape[0])):
            u, row, out = g[o], x[o], gx[o]
            for c in range(m.size):
                out[c] = _centred(u[c], row[c], m[c], scale[c], middle[c], along[c])


@njit
def _update_running(running_mean, running_var, mean, var, momentum, n):
    unbiased = n / (n - 1.0)
    for c in range(mean.size):
        running_mean[c] = (1.0 - momentum) * running_mean[c] + momentum * mean[c]
        running_var[c] = (1.0 - momentum) * running_var[c] + momentum * (var[c] * unbiased)


_layer_norm_parallel = parallel_form(_layer_norm)
_layer_norm_grad_parallel = parallel_form(_layer_norm_grad)
_LAYER_NORM, _LAYER_NORM_GRAD = direct(_layer_norm), direct(_layer_norm_grad)
_batch_norm_planes_parallel = parallel_form(_batch_norm_planes)
_batch_norm_grad_planes_parallel = parallel_form(_batch_norm_grad_planes)
_batch_norm_columns_parallel = parallel_form(_batch_norm_columns)
_batch_norm_grad_columns_parallel = parallel_form(_batch_norm_grad_columns)


def _vector(w: np.ndarray | None, n: int, value: float, dtype: np.dtype) -> np.ndarray:
    """A weight or bias as a vector; value everywhere where there is none."""
    return np.full(n, value, dtype) if w is None else contiguous(w).reshape(n)


def _pieces(rows: int) -> int:
    return -(-rows // _ROWS)


def layer_norm(
    x: np.ndarray, w: np.ndarray | None, b: np.ndarray | None, shape: tuple[int, ...], eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """y = (x - mean) * rstd * w + b over the last dims, which have that shape; also [mean, rstd], (2, rows)."""
    dtype = x.dtype
    n = shape[0] if len(shape) == 1 else prod(shape)
    form = rows, _ = x.size // n if n else 0, n
    y, stats = np.empty(x.shape, dtype), np.empty((2, rows), dtype)
    if w is None or w.ndim != 1 or not w.flags.carray:
        w = _vector(w, n, 1.0, dtype)
    if b is None or b.ndim != 1 or not b.flags.carray:
        b = _vector(b, n, 0.0, dtype)
    run = _layer_norm_parallel if rows > 1 and pays(x.size) else _layer_norm
    if not x.flags.carray:
        x = x.copy()
    if x.shape == form:
        run(x, w, b, float(eps), y, stats)
    else:
        run(x.reshape(form), w, b, float(eps), y.reshape(form), stats)
    return y, stats


def _few_rows(x: np.ndarray, w: np.ndarray | None, b: np.ndarray | None, shape: tuple[int, ...], eps: float) -> Callable[..., Any] | None:
    """layer_norm of a matrix so small that one thread does best."""
    if x.ndim != 2 or not 0 < x.size < PARALLEL_MIN or w is None or b is None or w.ndim != 1:
        return None
    dtype, x_shape, stats_shape, eps = x.dtype, x.shape, (2, x.shape[0]), float(eps)

    def run(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, stats = empty(x_shape, dtype), empty(stats_shape, dtype)
        _LAYER_NORM[dtype](x, w, b, eps, y, stats)
        return y, stats

    return run


layer_norm.prepared = _few_rows  # type: ignore[attr-defined]


def layer_norm_grad(
    g: np.ndarray, x: np.ndarray, w: np.ndarray | None, stats: np.ndarray, shape: tuple[int, ...], eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gx = rstd * (g w - mean(g w) - xhat * mean(g w xhat)), gw = sum g * xhat, gb = sum g, sums over rows; xhat = (x - mean) * rstd."""
    dtype = g.dtype
    n = shape[0] if len(shape) == 1 else prod(shape)
    form = rows, _ = g.size // n if n else 0, n
    gx, gw, gb = np.empty(g.shape, dtype), np.empty(shape, dtype), np.empty(shape, dtype)
    parts = np.empty((_pieces(rows), 2, n), dtype)
    if w is None or w.ndim != 1 or not w.flags.carray:
        w = _vector(w, n, 1.0, dtype)
    run = _layer_norm_grad_parallel if rows > _ROWS and pays(g.size) else _layer_norm_grad
    g, x, stats = contiguous(g), contiguous(x), contiguous(stats)
    if g.shape == form:
        run(g, x, w, stats, gx, gw, gb, parts)
    else:
        run(g.reshape(form), x.reshape(form), w, stats, gx.reshape(form), gw.reshape(n), gb.reshape(n), parts)
    return gx, gw, gb


def _few_rows_grad(
    g: np.ndarray, x: np.ndarray, w: np.ndarray | None, stats: np.ndarray, shape: tuple[int, ...], eps: float
) -> Callable[..., Any] | None:
    """layer_norm_grad of such a matrix."""
    if g.ndim != 2 or not 0 < g.size < PARALLEL_MIN or w is None or w.ndim != 1:
        return None
    dtype, g_shape, parts_shape = g.dtype, g.shape, (_pieces(g.shape[0]), 2, g.shape[1])

    def run(g: np.ndarray, x: np.ndarray, w: np.ndarray, stats: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        gx, gw, gb = empty(g_shape, dtype), empty(shape, dtype), empty(shape, dtype)
        _LAYER_NORM_GRAD[dtype](g, x, w, stats, gx, gw, gb, empty(parts_shape, dtype))
        return gx, gw, gb

    return run


layer_norm_grad.prepared = _few_rows_grad  # type: ignore[attr-defined]


def batch_norm(
    x: np.ndarray, w: np.ndarray | None, b: np.ndarray | None, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """y = (x - mean) / sqrt(var + eps) * w + b for each channel of (N, C, ...); also mean and the biased var, (C,), and both, (2, C)."""
    shape, dtype = x.shape, x.dtype
    N, C, n = shape[0], shape[1], prod(shape[2:])
    y, stats = np.empty(shape, dtype), np.empty((2, C), dtype)
    x, w, b = contiguous(x), _vector(w, C, 1.0, dtype), _vector(b, C, 0.0, dtype)
    if not x.size:
        stats.fill(np.nan)
    elif n == 1:
        run = _batch_norm_columns_parallel if N > _ROWS and pays(x.size) else _batch_norm_columns
        run(x.reshape(N, C), w, b, eps, y.reshape(N, C), stats, np.empty((_pieces(N), 3, C), dtype), np.empty((2, C)))
    else:
        run = _batch_norm_planes_parallel if C > 1 and pays(x.size) else _batch_norm_planes
        run(x.reshape(N, C, n), w, b, eps, y.reshape(N, C, n), stats)
    return y, stats[0], stats[1], stats


def batch_norm_grad(
    g: np.ndarray, x: np.ndarray, w: np.ndarray | None, stats: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gx = w rstd * (g - mean(g) - xhat * mean(g xhat)), gw = sum g * xhat, gb = sum g for each channel; stats is [mean, var]."""
    shape, dtype = g.shape, g.dtype
    N, C, n = shape[0], shape[1], prod(shape[2:])
    gx, gw, gb = np.empty(shape, dtype), np.empty(C, dtype), np.empty(C, dtype)
    g, x, w, stats = contiguous(g), contiguous(x), _vector(w, C, 1.0, dtype), contiguous(stats)
    if not g.size:
        gw.fill(0)
        gb.fill(0)
    elif n == 1:
        run = _batch_norm_grad_columns_parallel if N > _ROWS and pays(g.size) else _batch_norm_grad_columns
        parts, sums = np.empty((_pieces(N), 3, C), dtype), np.empty((2, C))
        run(g.reshape(N, C), x.reshape(N, C), w, stats, eps, gx.reshape(N, C), gw, gb, parts, sums)
    else:
        run = _batch_norm_grad_planes_parallel if C > 1 and pays(g.size) else _batch_norm_grad_planes
        form = (N, C, n)
        run(g.reshape(form), x.reshape(form), w, stats, eps, gx.reshape(form), gw, gb, np.ones(min(n, _PIECE), dtype))
    return gx, gw, gb


def update_running_(
    running_mean: np.ndarray, running_var: np.ndarray, mean: np.ndarray, var: np.ndarray, momentum: np.ndarray, n: int
) -> None:
    """running = (1 - momentum) * running + momentum * stat, in place; var is made unbiased by n / (n - 1)."""
    m, v = contiguous(running_mean), contiguous(running_var)
    _update_running(m, v, contiguous(mean).ravel(), contiguous(var).ravel(), float(momentum), n)
    if m is not running_mean:
        running_mean[...] = m
    if v is not running_var:
        running_var[...] = v
