"""Softmax and its kin over one dim. Kernels see (outer, n, inner); `work` (outer, 2, inner) takes a maximum and a sum per column."""

from __future__ import annotations

from math import prod

import numpy as np

from jitgrad.kernels.cpu.formulas import exp, log
from jitgrad.kernels.cpu.layout import as_outer_n_inner, contiguous, or_nothing
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
            losses[n, k] = 0 if t == ignore_index else -x[n, t, k] * (weight[t] if weight.size else 1)


_nll_parallel = parallel_form(_nll)


@njit
def _nll_reduced(x, target, weight, out, ignore_index, mean):
    """out = the sum or mean of the losses, and the sum of the weights that count."""
    N, _, K = x.shape
    loss = total = 0.0
    for n in range(N):
        for k in range(K):
            t = target[n, k]
            if t != ignore_index:
                w = weight[t] if weight.size else 1
                loss -= w * x[n, t, k]
                total += w
    out[0] = loss / total if mean else loss
    out[1] = total


@njit
def _nll_grad(g, target, weight, gx, ignore_index, total):
    """g has one element where the losses were reduced."""
    N, K = target.shape
    for n in prange(N):
        for c in range(gx.shape[1]):
            for k in range(K):
                gx[n, c, k] = 0
        for k in range(K):
            t = target[n, k]
            if t != ignore_index:
                up = g[n * K + k] if total == 0 else g[0] / total
                gx[n, t, k] = -up * (weight[t] if weight.size else 1)


_nll_grad_parallel = parallel_form(_nll_grad)


def _sizes(x_shape: tuple[int, ...]) -> tuple[int, int, int]:
    return x_shape[0], x_shape[1], prod(x_shape[2:])


def nll(
    x: np.ndarray, target: np.ndarray, weight: np.ndarray | None, ignore_index: int, reduction: str
) -> tuple[np.ndarray, np.ndarray]:
    """losses[n, ...] = -weight[t] * x[n, t, ...] with t = target[n, ...], 0 where t == ignore_index; reduced; and the weights' sum."""
    N, C, K = _sizes(x.shape)
    x, labels, w = contiguous(x).reshape(N, C, K), contiguous(target).reshape(N, K), or_nothing(weight, x.dtype)
    if reduction == "none":
        losses = np.empty(target.shape, x.dtype)
        (_nll_parallel if pays(target.size) else _nll)(x, labels, w, losses.reshape(N, K), ignore_index)
        return losses, np.zeros((), x.dtype)
    out = np.empty(2, x.dtype)
    _nll_reduced(x, labels, w, out, ignore_index, reduction == "mean")
    return out[:1].reshape(()), out[1:].reshape(())


def nll_grad(
    g: np.ndarray, target: np.ndarray, weight: np.ndarray | None, total: np.ndarray,
    x_shape: tuple[int, ...], ignore_index: int, reduction: str,
) -> np.ndarray:  # fmt: skip
    """gx[n, t, ...] = -weight[t] * g[n, ...] (/ total for the mean) with t = target[n, ...], zero elsewhere and where t == ignore_index."""
    gx = np.empty(x_shape, g.dtype)
    N, C, K = _sizes(x_shape)
    divisor = {"none": 0.0, "sum": 1.0, "mean": float(total)}[reduction]
    run = _nll_grad_parallel if pays(gx.size) else _nll_grad
    if divisor or reduction != "mean":  # a mean of nothing has no gradient: all targets are ignored
        run(contiguous(g).reshape(g.size), contiguous(target).reshape(N, K), or_nothing(weight, g.dtype), gx.reshape(N, C, K), ignore_index, divisor)
    else:
        gx.fill(0)
    return gx
