"""Softmax and its kin over one dim. Where that is the last, kernels see rows (outer, n); else columns (outer, n, inner)."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.kernels.cpu.formulas import exp, log
from jitgrad.kernels.cpu.layout import as_outer_n_inner, contiguous
from jitgrad.kernels.cpu.reduce import FEW, few_max, few_sum, row_max, row_sum
from jitgrad.kernels.jit import SUM, direct, njit, parallel_form, pays, prange

MIN_WORK = 1 << 14  # elements from which threads pay: an exponential costs more than an addition


# ---- rows ------------------------------------------------------------------------------------------------------------


@njit(inline=True)
def _narrow(x, o, out):
    """out[o] = exp(x[o] - maximum); the maximum and the sum."""
    high = few_max(x, o)
    for k in range(x.shape[1]):
        out[o, k] = exp(x[o, k] - high)
    return high, few_sum(out, o)


@njit(inline=True)
def _wide(x, o, out):
    """As _narrow."""
    high = row_max(x[o])
    for k in range(x.shape[1]):
        out[o, k] = exp(x[o, k] - high)
    return high, row_sum(out[o])


@njit
def _softmax_rows(x, out):
    few = x.shape[1] <= FEW
    for o in prange(x.shape[0]):
        _, total = _narrow(x, o, out) if few else _wide(x, o, out)
        low = x.dtype.type(total)
        for k in range(x.shape[1]):
            out[o, k] /= low


@njit
def _log_softmax_rows(x, out):
    few = x.shape[1] <= FEW
    for o in prange(x.shape[0]):
        high, total = _narrow(x, o, out) if few else _wide(x, o, out)
        low = x.dtype.type(log(total))
        for k in range(x.shape[1]):
            out[o, k] = x[o, k] - high - low


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


Kernels = tuple[Any, Any]  # the serial and the parallel form
_SOFTMAX: tuple[Kernels, Kernels] = (_softmax_rows, _softmax_rows_parallel), (_softmax_columns, _softmax_columns_parallel)
_LOG_SOFTMAX: tuple[Kernels, Kernels] = (
    (_log_softmax_rows, _log_softmax_rows_parallel), (_log_softmax_columns, _log_softmax_columns_parallel)
)  # fmt: skip
_SOFTMAX_GRAD: tuple[Kernels, Kernels] = (
    (_softmax_grad_rows, _softmax_grad_rows_parallel), (_softmax_grad_columns, _softmax_grad_columns_parallel)
)  # fmt: skip
_LOG_SOFTMAX_GRAD: tuple[Kernels, Kernels] = (
    (_log_softmax_grad_rows, _log_softmax_grad_rows_parallel), (_log_softmax_grad_columns, _log_softmax_grad_columns_parallel)
)  # fmt: skip


def _columns(x: np.ndarray, dim: int) -> np.ndarray:
    return as_outer_n_inner(x, (dim,) if x.ndim else ())


def _run(kernels: tuple[Kernels, Kernels], dim: int, *inputs: np.ndarray) -> np.ndarray:
    """A new array like the first input, filled by the form that fits layout and size."""
    x = inputs[0]
    out = np.empty(x.shape, x.dtype)
    if not x.size:
        return out
    threads = pays(x.size, MIN_WORK)
    if dim == x.ndim - 1:
        rows = out if x.ndim == 2 else out.reshape(-1, x.shape[-1])
        kernels[0][threads](*[(contiguous(a) if a.ndim == 2 else contiguous(a).reshape(rows.shape)) for a in inputs], rows)
    else:
        columns = [_columns(a, dim) for a in inputs]
        shape = columns[0].shape
        kernels[1][threads](*columns, out.reshape(shape), np.empty((shape[0], 2, shape[2])))
    return out


def softmax(x: np.ndarray, dim: int) -> np.ndarray:
    """y[o, k, i] = exp(x[o, k, i] - m) / sum_k exp(x[o, k, i] - m), m the maximum over k."""
    return _run(_SOFTMAX, dim, x)


def log_softmax(x: np.ndarray, dim: int) -> np.ndarray:
    """y[o, k, i] = x[o, k, i] - m - log(sum_k exp(x[o, k, i] - m)), m the maximum over k."""
    return _run(_LOG_SOFTMAX, dim, x)


def softmax_grad(g: np.ndarray, y: np.ndarray, dim: int) -> np.ndarray:
    """gx[o, k, i] = y[o, k, i] * (g[o, k, i] - sum_k g[o, k, i] * y[o, k, i])."""
    return _run(_SOFTMAX_GRAD, dim, g, y)


def log_softmax_grad(g: np.ndarray, y: np.ndarray, dim: int) -> np.ndarray:
    """gx[o, k, i] = g[o, k, i] - exp(y[o, k, i]) * sum_k g[o, k, i]."""
    return _run(_LOG_SOFTMAX_GRAD, dim, g, y)


def _few_rows(kernels: tuple[Kernels, Kernels]) -> Any:
    """The form for few rows, which is what a classifier has."""
    rows = direct(kernels[0][0])
    return lambda x, *rest: rows if x.ndim == 2 and rest[-1] == 1 and 0 < x.size < MIN_WORK else None


softmax.direct = _few_rows(_SOFTMAX)  # type: ignore[attr-defined]
log_softmax.direct = _few_rows(_LOG_SOFTMAX)  # type: ignore[attr-defined]
softmax_grad.direct = _few_rows(_SOFTMAX_GRAD)  # type: ignore[attr-defined]
log_softmax_grad.direct = _few_rows(_LOG_SOFTMAX_GRAD)  # type: ignore[attr-defined]
