"""Softmax and its kin over one dim. Kernels see (outer, n, inner); `work` (outer, 2, inner) takes a maximum and a sum per column."""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.formulas import exp, log
from jitgrad.kernels.cpu.layout import as_outer_n_inner, contiguous
from jitgrad.kernels.cpu.reduce import row_max, row_sum
from jitgrad.kernels.jit import SUM, njit, parallel_form, pays, prange

MIN_WORK = 1 << 14  # elements from which threads pay: an exponential costs more than an addition
_NO_WORK = np.empty((0, 2, 0))  # rows (inner == 1) need none


@njit
def _exponentials(x, out, o, work):
    """out[o] = exp(x[o] - maximum) of every column; work[o] gets the maxima and the sums."""
    n, inner = x.shape[1:]
    high, total = work[o, 0], work[o, 1]
    for i in range(inner):
        high[i] = x[o, 0, i]
        total[i] = 0.0
    for k in range(1, n):
        for i in range(inner):
            v = x[o, k, i]
            high[i] = v if not (v <= high[i]) and high[i] == high[i] else high[i]
    for k in range(n):
        for i in range(inner):
            e = exp(x[o, k, i] - x.dtype.type(high[i]))
            out[o, k, i] = e
            total[i] += e


@njit
def _row_exponentials(row, out):
    """out = exp(row - maximum); the maximum and the sum."""
    high = row_max(row)
    for k in range(row.size):
        out[k] = exp(row[k] - high)
    return high, row_sum(out)


@njit
def _softmax(x, out, work):
    outer, n, inner = x.shape
    x_flat, out_flat = x.reshape(x.size), out.reshape(out.size)
    for o in prange(outer):
        if inner == 1:
            y = out_flat[o * n : (o + 1) * n]
            total = x.dtype.type(_row_exponentials(x_flat[o * n : (o + 1) * n], y)[1])
            for k in range(n):
                y[k] /= total
        else:
            _exponentials(x, out, o, work)
            for k in range(n):
                for i in range(inner):
                    out[o, k, i] /= x.dtype.type(work[o, 1, i])


_softmax_parallel = parallel_form(_softmax)


@njit
def _log_softmax(x, out, work):
    outer, n, inner = x.shape
    x_flat, out_flat = x.reshape(x.size), out.reshape(out.size)
    for o in prange(outer):
        if inner == 1:
            row, y = x_flat[o * n : (o + 1) * n], out_flat[o * n : (o + 1) * n]
            high, total = _row_exponentials(row, y)
            low = x.dtype.type(log(total))
            for k in range(n):
                y[k] = row[k] - high - low
        else:
            _exponentials(x, out, o, work)
            for i in range(inner):
                work[o, 1, i] = log(work[o, 1, i])
            for k in range(n):
                for i in range(inner):
                    out[o, k, i] = x[o, k, i] - x.dtype.type(work[o, 0, i]) - x.dtype.type(work[o, 1, i])


_log_softmax_parallel = parallel_form(_log_softmax)


def _work(x: np.ndarray) -> np.ndarray:
    return _NO_WORK if x.shape[2] == 1 else np.empty((x.shape[0], 2, x.shape[2]))


def softmax(x: np.ndarray, dim: int) -> np.ndarray:
    """y[o, k, i] = exp(x[o, k, i] - m) / sum_k exp(x[o, k, i] - m), m the maximum over k."""
    out = np.empty(x.shape, x.dtype)
    if x.size:
        x = as_outer_n_inner(x, (dim,) if x.ndim else ())
        (_softmax_parallel if pays(x.size, MIN_WORK) else _softmax)(x, out.reshape(x.shape), _work(x))
    return out


def log_softmax(x: np.ndarray, dim: int) -> np.ndarray:
    """y[o, k, i] = x[o, k, i] - m - log(sum_k exp(x[o, k, i] - m)), m the maximum over k."""
    out = np.empty(x.shape, x.dtype)
    if x.size:
        x = as_outer_n_inner(x, (dim,) if x.ndim else ())
        (_log_softmax_parallel if pays(x.size, MIN_WORK) else _log_softmax)(x, out.reshape(x.shape), _work(x))
    return out


# ---- gradients -------------------------------------------------------------------------------------------------------


@njit(fastmath=SUM)
def _softmax_grad(g, y, gx, work):
    outer, n, inner = g.shape
    for o in prange(outer):
        total = work[o]
        total[:] = 0.0
        for k in range(n):
            for i in range(inner):
                total[i] += g[o, k, i] * y[o, k, i]
        for k in range(n):
            for i in range(inner):
                gx[o, k, i] = y[o, k, i] * (g[o, k, i] - g.dtype.type(total[i]))


_softmax_grad_parallel = parallel_form(_softmax_grad)


@njit(fastmath=SUM)
def _log_softmax_grad(g, y, gx, work):
    outer, n, inner = g.shape
    for o in prange(outer):
        total = work[o]
        total[:] = 0.0
        for k in range(n):
            for i in range(inner):
                total[i] += g[o, k, i]
        for k in range(n):
            for i in range(inner):
                gx[o, k, i] = g[o, k, i] - exp(y[o, k, i]) * g.dtype.type(total[i])


_log_softmax_grad_parallel = parallel_form(_log_softmax_grad)


def softmax_grad(g: np.ndarray, y: np.ndarray, dim: int) -> np.ndarray:
    """gx[o, k, i] = y[o, k, i] * (g[o, k, i] - sum_k g[o, k, i] * y[o, k, i])."""
    gx, dims = np.empty(g.shape, g.dtype), (dim,) if g.ndim else ()
    g, y = as_outer_n_inner(g, dims), as_outer_n_inner(y, dims)
    run = _softmax_grad_parallel if pays(g.size) else _softmax_grad
    run(g, y, gx.reshape(g.shape), np.empty((g.shape[0], g.shape[2])))
    return gx


def log_softmax_grad(g: np.ndarray, y: np.ndarray, dim: int) -> np.ndarray:
    """gx[o, k, i] = g[o, k, i] - exp(y[o, k, i]) * sum_k g[o, k, i]."""
    gx, dims = np.empty(g.shape, g.dtype), (dim,) if g.ndim else ()
    g, y = as_outer_n_inner(g, dims), as_outer_n_inner(y, dims)
    run = _log_softmax_grad_parallel if pays(g.size, MIN_WORK) else _log_softmax_grad
    run(g, y, gx.reshape(g.shape), np.empty((g.shape[0], g.shape[2])))
    return gx


# ---- negative log likelihood -----------------------------------------------------------------------------------------


@njit
def _nll(x, target, weight, losses, ignore_index):
    N, _, K = x.shape
    for n in prange(N):
        for k in range(K):
            t = target[n, k]
            losses[n, k] = 0 if t == ignore_index else -weight[t] * x[n, t, k]


_nll_parallel = parallel_form(_nll)


@njit
def _nll_grad(g, target, weight, gx, ignore_index):
    N, K = g.shape
    for n in prange(N):
        gx[n] = 0
        for k in range(K):
            t = target[n, k]
            if t != ignore_index:
                gx[n, t, k] = -weight[t] * g[n, k]


_nll_grad_parallel = parallel_form(_nll_grad)


def nll(x: np.ndarray, target: np.ndarray, weight: np.ndarray, ignore_index: int) -> np.ndarray:
    """losses[n, k] = -weight[t] * x[n, t, k] with t = target[n, k]; 0 where t == ignore_index."""
    losses = np.empty(target.shape, x.dtype)
    run = _nll_parallel if pays(target.size) else _nll
    run(contiguous(x), contiguous(target), contiguous(weight), losses, ignore_index)
    return losses


def nll_grad(g: np.ndarray, target: np.ndarray, weight: np.ndarray, C: int, ignore_index: int) -> np.ndarray:
    """gx[n, t, k] = -weight[t] * g[n, k] with t = target[n, k], zero elsewhere and where t == ignore_index."""
    N, K = target.shape
    gx = np.empty((N, C, K), g.dtype)
    run = _nll_grad_parallel if pays(gx.size) else _nll_grad
    run(contiguous(g), contiguous(target), contiguous(weight), gx, ignore_index)
    return gx
