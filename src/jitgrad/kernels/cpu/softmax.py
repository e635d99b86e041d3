"""Softmax and its kin over one dim. Where that is the last, kernels see rows (outer, n); else columns (outer, n, inner)."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.kernels.cpu.formulas import log
from jitgrad.kernels.cpu.layout import as_outer_n_inner, contiguous
from jitgrad.kernels.cpu.matrix import BLOCK, column_sums, row_sum
from jitgrad.kernels.jit import direct, njit, parallel_form, pays, prange
from jitgrad.kernels.simd_rows import dot_row, max_row
from jitgrad.kernels.simd_softmax import (
    add_products,
    exp_columns,
    exp_row,
    less_columns,
    less_row,
    max_columns,
    off_columns,
    off_row,
    scale_columns,
    scale_row,
    shift_columns,
    shift_row,
    sum_exp_row,
)

COLUMNS = 512  # columns that one task computes
MIN_WORK = 1 << 14  # elements from which threads pay: an exponential costs more than an addition


# ---- rows ------------------------------------------------------------------------------------------------------------


@njit(inline=True)
def row_max_and_sum(x, at, n):
    """The largest x[at + k] and the sum of exp(x[at + k] - it) for k < n, x flat."""
    high = max_row(x, at, n)
    total = np.float64(sum_exp_row(x, at, min(BLOCK, n), high))
    k = BLOCK
    while k < n:
        total += sum_exp_row(x, at + k, min(BLOCK, n - k), high)
        k += BLOCK
    return high, total


@njit
def _softmax_rows(x, out):
    R, C = x.shape
    x_flat, flat = x.reshape(x.size), out.reshape(x.size)
    for r in prange(R):
        at = np.int64(r) * C  # Numba counts parallel loops in uint64
        high, total = max_row(x_flat, at, C), 0.0
        for k in range(at, at + C, BLOCK):
            total += exp_row(x_flat, k, flat, k, min(BLOCK, at + C - k), high)
        scale_row(flat, at, flat, at, C, 1 / total)


@njit
def _log_softmax_rows(x, out):
    R, C = x.shape
    x_flat, flat = x.reshape(x.size), out.reshape(x.size)
    for r in prange(R):
        at = np.int64(r) * C
        high, total = row_max_and_sum(x_flat, at, C)
        shift_row(x_flat, at, flat, at, C, high, log(x.dtype.type(total)))


@njit
def _softmax_grad_rows(g, y, gx):
    R, C = g.shape
    g_flat, y_flat, flat = g.reshape(g.size), y.reshape(g.size), gx.reshape(g.size)
    for r in prange(R):
        at, total = np.int64(r) * C, 0.0
        for k in range(at, at + C, BLOCK):
            total += dot_row(g_flat, y_flat, k, min(BLOCK, at + C - k))
        off_row(g_flat, at, y_flat, at, flat, at, C, total)


@njit
def _log_softmax_grad_rows(g, y, gx):
    R, C = g.shape
    g_flat, y_flat, flat = g.reshape(g.size), y.reshape(g.size), gx.reshape(g.size)
    for r in prange(R):
        at = np.int64(r) * C
        less_row(g_flat, at, y_flat, at, flat, at, C, row_sum(g_flat, at, C))


# ---- columns: a maximum or a factor for each in `work` (2, outer * inner), a sum in `totals` -------------------------


@njit(inline=True)
def _block(task, shape):
    """Of the blocks of columns of (outer, n, inner): where the first row starts, where its numbers are, how wide it is."""
    _, n, inner = shape
    blocks = (inner + COLUMNS - 1) // COLUMNS
    o, block = divmod(np.int64(task), blocks)
    left = block * COLUMNS
    return o * n * inner + left, o * inner + left, min(COLUMNS, inner - left)


@njit(inline=True)
def _blocks(shape):
    outer, _, inner = shape
    return outer * ((inner + COLUMNS - 1) // COLUMNS)


@njit
def _exp_of_columns(x, out, at, j, shape, width, high, totals):
    """A block of out = exp(x - high), high being the maxima of its columns; their sums."""
    _, n, inner = shape
    for i in range(width):
        high[j + i] = x[at + i]
    for k in range(1, n):
        max_columns(x, at + k * inner, high, j, width)
    totals[j : j + width] = 0
    for k in range(at, at + n * inner, inner):
        exp_columns(x, k, high, totals, j, out, k, width)


@njit
def _softmax_columns(x, out, work, totals):
    _, n, inner = x.shape
    x_flat, flat, high, factor = x.reshape(x.size), out.reshape(x.size), work[0], work[1]
    for task in prange(_blocks(x.shape)):
        at, j, width = _block(task, x.shape)
        _exp_of_columns(x_flat, flat, at, j, x.shape, width, high, totals)
        for i in range(j, j + width):
            factor[i] = 1 / totals[i]
        for k in range(at, at + n * inner, inner):
            scale_columns(flat, k, factor, j, flat, k, width)


@njit
def _log_softmax_columns(x, out, work, totals):
    _, n, inner = x.shape
    x_flat, flat, high, low = x.reshape(x.size), out.reshape(x.size), work[0], work[1]
    for task in prange(_blocks(x.shape)):
        at, j, width = _block(task, x.shape)
        _exp_of_columns(x_flat, flat, at, j, x.shape, width, high, totals)
        for i in range(j, j + width):
            low[i] = log(x.dtype.type(totals[i]))
        for k in range(at, at + n * inner, inner):
            shift_columns(x_flat, k, high, j, low, j, flat, k, width)


@njit
def _softmax_grad_columns(g, y, gx, work, totals):
    _, n, inner = g.shape
    g_flat, y_flat, flat, low = g.reshape(g.size), y.reshape(g.size), gx.reshape(g.size), work[0]
    for task in prange(_blocks(g.shape)):
        at, j, width = _block(task, g.shape)
        totals[j : j + width] = 0
        for k in range(at, at + n * inner, inner):
            add_products(g_flat, y_flat, k, totals, j, width)
        for i in range(j, j + width):
            low[i] = totals[i]
        for k in range(at, at + n * inner, inner):
            off_columns(g_flat, k, y_flat, k, low, j, flat, k, width)


@njit
def _log_softmax_grad_columns(g, y, gx, work, totals):
    _, n, inner = g.shape
    g_flat, y_flat, flat, low = g.reshape(g.size), y.reshape(g.size), gx.reshape(g.size), work[0]
    for task in prange(_blocks(g.shape)):
        at, j, width = _block(task, g.shape)
        column_sums(g_flat, at, inner, n, width, totals, j)
        for i in range(j, j + width):
            low[i] = totals[i]
        for k in range(at, at + n * inner, inner):
            less_columns(g_flat, k, y_flat, k, low, j, flat, k, width)


_softmax_rows_parallel = parallel_form(_softmax_rows)
_log_softmax_rows_parallel = parallel_form(_log_softmax_rows)
_softmax_grad_rows_parallel = parallel_form(_softmax_grad_rows)
_log_softmax_grad_rows_parallel = parallel_form(_log_softmax_grad_rows)
_softmax_columns_parallel = parallel_form(_softmax_columns)
_log_softmax_columns_parallel = parallel_form(_log_softmax_columns)
_softmax_grad_columns_parallel = parallel_form(_softmax_grad_columns)
_log_softmax_grad_columns_parallel = parallel_form(_log_softmax_grad_columns)


Kernels = tuple[dict[Any, Any], Any]  # the compiled serial forms by dtype, and the parallel form
_SOFTMAX: tuple[Kernels, Kernels] = (direct(_softmax_rows), _softmax_rows_parallel), (direct(_softmax_columns), _softmax_columns_parallel)
_LOG_SOFTMAX: tuple[Kernels, Kernels] = (
    (direct(_log_softmax_rows), _log_softmax_rows_parallel), (direct(_log_softmax_columns), _log_softmax_columns_parallel)
)  # fmt: skip
_SOFTMAX_GRAD: tuple[Kernels, Kernels] = (
    (direct(_softmax_grad_rows), _softmax_grad_rows_parallel), (direct(_softmax_grad_columns), _softmax_grad_columns_parallel)
)  # fmt: skip
_LOG_SOFTMAX_GRAD: tuple[Kernels, Kernels] = (
    (direct(_log_softmax_grad_rows), _log_softmax_grad_rows_parallel),
    (direct(_log_softmax_grad_columns), _log_softmax_grad_columns_parallel),
)


def _columns(x: np.ndarray, dim: int) -> np.ndarray:
    return as_outer_n_inner(x, (dim,) if x.ndim else ())


def _work(columns: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    return np.empty((2, columns), dtype), np.empty(columns)


def _run(kernels: tuple[Kernels, Kernels], dim: int, *inputs: np.ndarray) -> np.ndarray:
    """A new array like the first input, filled by the form that fits layout and size."""
    x = inputs[0]
    out = np.empty(x.shape, x.dtype)
    if not x.size:
        return out
    serial, parallel = kernels[dim != x.ndim - 1]
    run = parallel if pays(x.size, MIN_WORK) else serial[x.dtype]
    if dim == x.ndim - 1:
        rows = out if x.ndim == 2 else out.reshape(-1, x.shape[-1])
        run(*[(contiguous(a) if a.ndim == 2 else contiguous(a).reshape(rows.shape)) for a in inputs], rows)
    else:
        columns = [_columns(a, dim) for a in inputs]
        shape = columns[0].shape
        run(*columns, out.reshape(shape), *_work(shape[0] * shape[2], out.dtype))
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
    rows = kernels[0][0]
    return lambda x, *rest: rows if x.ndim == 2 and rest[-1] == 1 and 0 < x.size < MIN_WORK else None


softmax.direct = _few_rows(_SOFTMAX)  # type: ignore[attr-defined]
log_softmax.direct = _few_rows(_LOG_SOFTMAX)  # type: ignore[attr-defined]
softmax_grad.direct = _few_rows(_SOFTMAX_GRAD)  # type: ignore[attr-defined]
log_softmax_grad.direct = _few_rows(_LOG_SOFTMAX_GRAD)  # type: ignore[attr-defined]
