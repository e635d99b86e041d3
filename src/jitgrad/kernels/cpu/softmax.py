"""Softmax and its kin over one dim. Where that is the last, kernels see rows (outer, n); else columns (outer, n, inner)."""

from __future__ import annotations

from math import prod

import numpy as np

from jitgrad.kernels.cpu.formulas import exp, log
from jitgrad.kernels.cpu.layout import as_outer_n_inner, contiguous, or_nothing
from jitgrad.kernels.cpu.reduce import row_max, row_sum
from jitgrad.kernels.jit import SUM, njit, parallel_form, pays, prange

MIN_WORK = 1 << 14  # elements from which threads pay: an exponential costs more than an addition


# ---- rows ------------------------------------------------------------------------------------------------------------


@njit
def _exponentials(row, out):
    """out = exp(row - maximum); the maximum and the sum."""
    high = row_max(row)
    for k in range(row.size):
        out[k] = exp(row[k] - high)
    return high, row_sum(out)


@njit
def _softmax_rows(x, out):
    for o in prange(x.shape[0]):
        y = out[o]
        total = x.dtype.type(_exponentials(x[o], y)[1])
        for k in range(y.size):
            y[k] /= total


@njit
def _log_softmax_rows(x, out):
    for o in prange(x.shape[0]):
        row, y = x[o], out[o]
        high, total = _exponentials(row, y)
        low = x.dtype.type(log(total))
        for k in range(y.size):
            y[k] = row[k] - high - low


@njit(fastmath=SUM)
def _softmax_grad_rows(g, y, gx):
    for o in prange(g.shape[0]):
        total = 0.0
        for k in range(g.shape[1]):
            total += g[o, k] * y[o, k]
        low = g.dtype.type(total)
        for k in range(g.shape[1]):
            gx[o, k] = y[o, k] * (g[o, k] - low)


@njit(fastmath=SUM)
def _log_softmax_grad_rows(g, y, gx):
    for o in prange(g.shape[0]):
        total = 0.0
        for k in range(g.shape[1]):
            total += g[o, k]
        low = g.dtype.type(total)
        for k in range(g.shape[1]):
            gx[o, k] = g[o, k] - exp(y[o, k]) * low


# ---- columns: a maximum and a sum for each, in `work` (outer, 2, inner) ----------------------------------------------


@njit
def _column_exponentials(x, out, o, work):
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
def _softmax_columns(x, out, work):
    outer, n, inner = x.shape
    for o in prange(outer):
        _column_exponentials(x, out, o, work)
        for k in range(n):
            for i in range(inner):
                out[o, k, i] /= x.dtype.type(work[o, 1, i])


@njit
def _log_softmax_columns(x, out, work):
    outer, n, inner = x.shape
    for o in prange(outer):
        _column_exponentials(x, out, o, work)
        for i in range(inner):
            work[o, 1, i] = log(work[o, 1, i])
        for k in range(n):
            for i in range(inner):
                out[o, k, i] = x[o, k, i] - x.dtype.type(work[o, 0, i]) - x.dtype.type(work[o, 1, i])


@njit(fastmath=SUM)
def _softmax_grad_columns(g, y, gx, work):
    outer, n, inner = g.shape
    for o in prange(outer):
        total = work[o, 0]
        for i in range(inner):
            total[i] = 0.0
        for k in range(n):
            for i in range(inner):
                total[i] += g[o, k, i] * y[o, k, i]
        for k in range(n):
            for i in range(inner):
                gx[o, k, i] = y[o, k, i] * (g[o, k, i] - g.dtype.type(total[i]))


@njit(fastmath=SUM)
def _log_softmax_grad_columns(g, y, gx, work):
    outer, n, inner = g.shape
    for o in prange(outer):
        total = work[o, 0]
        for i in range(inner):
            total[i] = 0.0
        for k in range(n):
            for i in range(inner):
                total[i] += g[o, k, i]
        for k in range(n):
            for i in range(inner):
                gx[o, k, i] = g[o, k, i] - exp(y[o, k, i]) * g.dtype.type(total[i])


_softmax_rows_parallel = parallel_form(_softmax_rows)
_log_softmax_rows_parallel = parallel_form(_log_softmax_rows)
_softmax_grad_rows_parallel = parallel_form(_softmax_grad_rows)
_log_softmax_grad_rows_parallel = parallel_form(_log_softmax_grad_rows)
_softmax_columns_parallel = parallel_form(_softmax_columns)
_log_softmax_columns_parallel = parallel_form(_log_softmax_columns)
_softmax_grad_columns_parallel = parallel_form(_softmax_grad_columns)
_log_softmax_grad_columns_parallel = parallel_form(_log_softmax_grad_columns)


def _columns(x: np.ndarray, dim: int) -> np.ndarray:
    return as_outer_n_inner(x, (dim,) if x.ndim else ())


def _forward(x: np.ndarray, dim: int, rows: tuple, columns: tuple) -> np.ndarray:  # type: ignore[type-arg]
    """Run the serial or parallel form (a pair of each) for the layout."""
    out = np.empty(x.shape, x.dtype)
    size = x.size
    if size:
        threads = pays(size, MIN_WORK)
        if dim == x.ndim - 1:
            x = x if x.flags.carray else x.copy()
            y = out
            if x.ndim != 2:
                x, y = x.reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1])
            rows[threads](x, y)
        else:
            x = _columns(x, dim)
            columns[threads](x, out.reshape(x.shape), np.empty((x.shape[0], 2, x.shape[2])))
    return out


def _backward(g: np.ndarray, y: np.ndarray, dim: int, rows: tuple, columns: tuple) -> np.ndarray:  # type: ignore[type-arg]
    gx = np.empty(g.shape, g.dtype)
    size = g.size
    if size:
        threads = pays(size, MIN_WORK)
        if dim == g.ndim - 1:
            g, y, out = contiguous(g), contiguous(y), gx
            if g.ndim != 2:
                n = g.shape[-1]
                g, y, out = g.reshape(-1, n), y.reshape(-1, n), gx.reshape(-1, n)
            rows[threads](g, y, out)
        else:
            g, y = _columns(g, dim), _columns(y, dim)
            columns[threads](g, y, gx.reshape(g.shape), np.empty((g.shape[0], 1, g.shape[2])))
    return gx


def softmax(x: np.ndarray, dim: int) -> np.ndarray:
    """y[o, k, i] = exp(x[o, k, i] - m) / sum_k exp(x[o, k, i] - m), m the maximum over k."""
    return _forward(x, dim, (_softmax_rows, _softmax_rows_parallel), (_softmax_columns, _softmax_columns_parallel))


def log_softmax(x: np.ndarray, dim: int) -> np.ndarray:
    """y[o, k, i] = x[o, k, i] - m - log(sum_k exp(x[o, k, i] - m)), m the maximum over k."""
    return _forward(x, dim, (_log_softmax_rows, _log_softmax_rows_parallel), (_log_softmax_columns, _log_softmax_columns_parallel))


def softmax_grad(g: np.ndarray, y: np.ndarray, dim: int) -> np.ndarray:
    """gx[o, k, i] = y[o, k, i] * (g[o, k, i] - sum_k g[o, k, i] * y[o, k, i])."""
    rows, columns = (_softmax_grad_rows, _softmax_grad_rows_parallel), (_softmax_grad_columns, _softmax_grad_columns_parallel)
    return _backward(g, y, dim, rows, columns)


def log_softmax_grad(g: np.ndarray, y: np.ndarray, dim: int) -> np.ndarray:
    """gx[o, k, i] = g[o, k, i] - exp(y[o, k, i]) * sum_k g[o, k, i]."""
    rows = (_log_softmax_grad_rows, _log_softmax_grad_rows_parallel)
    return _backward(g, y, dim, rows, (_log_softmax_grad_columns, _log_softmax_grad_columns_parallel))


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
