"""Normalisation over some dims, in the canonical form (outer, C, inner): C groups, each of outer * inner elements.

Statistics take two passes and are summed in float64; np.float64(...) says so also where the kernels run uncompiled.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import SUM, njit, parallel_form, pays, prange

Shape = tuple[int, ...]

_COLUMNS = 128  # groups that one task works on where inner is 1: some cache lines of each row


@njit(fastmath=SUM)
def _normalize(x, eps, xhat, mean, var, rstd):
    outer, C, inner = x.shape
    n = outer * inner
    for c in prange(C):
        total = 0.0
        for o in range(outer):
            for i in range(inner):
                total += np.float64(x[o, c, i])
        m = total / n
        squares = 0.0
        for o in range(outer):
            for i in range(inner):
                d = np.float64(x[o, c, i]) - m
                squares += d * d
        v = squares / n
        r = 1.0 / np.sqrt(v + eps)
        mean[c], var[c], rstd[c] = m, v, r
        for o in range(outer):
            for i in range(inner):
                xhat[o, c, i] = (np.float64(x[o, c, i]) - m) * r


@njit(fastmath=SUM)
def _normalize_columns(x, eps, xhat, mean, var, rstd, work):
    # inner is 1: whole pieces of rows at a time, not one strided column after another
    n, C = x.shape
    for block in prange((C + _COLUMNS - 1) // _COLUMNS):
        low, high = block * _COLUMNS, min((block + 1) * _COLUMNS, C)
        m, r = work[0, low:high], work[1, low:high]
        m[:] = 0.0
        r[:] = 0.0
        for o in range(n):
            row = x[o, low:high]
            for c in range(row.size):
                m[c] += row[c]
        for c in range(m.size):
            m[c] /= n
        for o in range(n):
            row = x[o, low:high]
            for c in range(row.size):
                d = row[c] - m[c]
                r[c] += d * d
        for c in range(m.size):
            v = r[c] / n
            r[c] = 1.0 / np.sqrt(v + eps)
            mean[low + c], var[low + c], rstd[low + c] = m[c], v, r[c]
        for o in range(n):
            row, out = x[o, low:high], xhat[o, low:high]
            for c in range(row.size):
                out[c] = (row[c] - m[c]) * r[c]


@njit
def _centred(g, m, hat, s, r):
    """One element; not under SUM, which would let the serial and the parallel form reorder it differently."""
    return r * (g - m - hat * s)


@njit(fastmath=SUM)
def _normalize_grad(g, xhat, rstd, out):
    outer, C, inner = g.shape
    n, real = outer * inner, g.dtype.type
    for c in prange(C):
        total, along = 0.0, 0.0
        for o in range(outer):
            for i in range(inner):
                d = np.float64(g[o, c, i])
                total += d
                along += d * xhat[o, c, i]
        m, s, r = real(total / n), real(along / n), rstd[c]
        for o in range(outer):
            for i in range(inner):
                out[o, c, i] = _centred(g[o, c, i], m, xhat[o, c, i], s, r)


@njit(fastmath=SUM)
def _normalize_grad_columns(g, xhat, rstd, out, work):
    n, C = g.shape
    for block in prange((C + _COLUMNS - 1) // _COLUMNS):
        low, high = block * _COLUMNS, min((block + 1) * _COLUMNS, C)
        m, s, r = work[0, low:high], work[1, low:high], rstd[low:high]
        m[:] = 0.0
        s[:] = 0.0
        for o in range(n):
            row, hat = g[o, low:high], xhat[o, low:high]
            for c in range(row.size):
                d = np.float64(row[c])
                m[c] += d
                s[c] += d * hat[c]
        for c in range(m.size):
            m[c] /= n
            s[c] /= n
        for o in range(n):
            row, hat, y = g[o, low:high], xhat[o, low:high], out[o, low:high]
            for c in range(row.size):
                y[c] = r[c] * (row[c] - m[c] - hat[c] * s[c])


@njit
def _update_running(running_mean, running_var, mean, var, momentum, n):
    unbiased = n / (n - 1.0)
    for c in range(mean.size):
        running_mean[c] = (1.0 - momentum) * running_mean[c] + momentum * mean[c]
        running_var[c] = (1.0 - momentum) * running_var[c] + momentum * (var[c] * unbiased)


_normalize_parallel = parallel_form(_normalize)
_normalize_columns_parallel = parallel_form(_normalize_columns)
_normalize_grad_parallel = parallel_form(_normalize_grad)
_normalize_grad_columns_parallel = parallel_form(_normalize_grad_columns)


@lru_cache(4096)
def _plan(shape: Shape, dims: Shape) -> tuple[Shape | None, Shape, Shape]:
    """The order of dims that makes the kept ones adjacent (None: they are), (outer, C, inner), and the statistics' shape."""
    kept = [d for d in range(len(shape)) if d not in dims]
    stats = tuple([1 if d in dims else n for d, n in enumerate(shape)])
    C = prod([shape[d] for d in kept])
    if not kept:
        return None, (1, 1, prod(shape)), stats
    first, last = kept[0], kept[-1] + 1
    if last - first == len(kept):
        return None, (prod(shape[:first]), C, prod(shape[last:])), stats
    return (*kept, *dims), (1, C, prod([shape[d] for d in dims])), stats


def _restored(y: np.ndarray, order: Shape, shape: Shape) -> np.ndarray:
    """The canonical `y` in the caller's order of dims."""
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return y.reshape([shape[d] for d in order]).transpose(inverse).copy()


def normalize(x: np.ndarray, dims: Shape, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """xhat = (x - mean) * rstd over dims, rstd = 1 / sqrt(var + eps), var biased; returns xhat, mean, var, rstd."""
    shape, dtype = x.shape, x.dtype
    order, form, stats_shape = _plan(shape, dims)
    outer, C, inner = form
    xhat = np.empty(shape, dtype)
    mean, var, rstd = np.empty(stats_shape, dtype), np.empty(stats_shape, dtype), np.empty(stats_shape, dtype)
    x = contiguous(x if order is None else x.transpose(order))
    if inner == 1 and outer > 1:
        form, work = (outer, C), np.empty((2, C))
        run = _normalize_columns_parallel if pays(x.size) else _normalize_columns
        run(x.reshape(form), eps, xhat.reshape(form), mean.ravel(), var.ravel(), rstd.ravel(), work)
    else:
        run = _normalize_parallel if C > 1 and pays(x.size) else _normalize
        run(x.reshape(form), eps, xhat.reshape(form), mean.ravel(), var.ravel(), rstd.ravel())
    return xhat if order is None else _restored(xhat, order, shape), mean, var, rstd


def normalize_grad(g: np.ndarray, xhat: np.ndarray, rstd: np.ndarray, dims: Shape) -> np.ndarray:
    """gx = rstd * (g - mean(g) - xhat * mean(g * xhat)), means over dims."""
    shape = g.shape
    order, form, _ = _plan(shape, dims)
    outer, C, inner = form
    gx = np.empty(shape, g.dtype)
    if order is not None:
        g, xhat = g.transpose(order), xhat.transpose(order)
    g, xhat, rstd = contiguous(g), contiguous(xhat), contiguous(rstd).ravel()
    if inner == 1 and outer > 1:
        form, work = (outer, C), np.empty((2, C))
        run = _normalize_grad_columns_parallel if pays(g.size) else _normalize_grad_columns
        run(g.reshape(form), xhat.reshape(form), rstd, gx.reshape(form), work)
    else:
        run = _normalize_grad_parallel if C > 1 and pays(g.size) else _normalize_grad
        run(g.reshape(form), xhat.reshape(form), rstd, gx.reshape(form))
    return gx if order is None else _restored(gx, order, shape)


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
