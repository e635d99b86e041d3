"""Reductions. Every kernel sees (outer, n, inner) and reduces over n; inner == 1 means rows, else columns."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy import empty

from jitgrad.kernels.cpu.layout import contiguous, grouped, has_gaps
from jitgrad.kernels.cpu.matrix import (
    MAX_ROWS,
    MAXIMA,
    MEANS,
    PLACES,
    SUMS,
    Forms,
    amax_rows,
    amax_rows_parallel,
    argmax_rows,
    argmax_rows_parallel,
    column_sums,
    matrix_form,
    max_rows_parallel,
    of_matrix,
    row_sum,
    sum_rows,
    sum_rows_parallel,
)
from jitgrad.kernels.jit import PARALLEL_MIN, SUM, direct, njit, parallel_form, pays, prange
from jitgrad.shapes import reduced_shape

COLUMNS = 1024  # columns that one task sums: their float64 totals stay in the L1 cache
PIECE = 1 << 14  # elements of one piece of a long sum; fixed, so the result does not depend on the thread count
COLUMN_PIECE = 1 << 16  # the same of sums of columns, where every piece has its totals
_FLOAT64, _INT64 = np.dtype(np.float64), np.dtype(np.int64)


# ---- sums ------------------------------------------------------------------------------------------------------------


@njit
def _sum(x, partial, out, divisor):
    """Of columns, and of rows in pieces: partial (outer, pieces, inner) holds the totals of the pieces."""
    outer, n, inner = x.shape
    pieces = partial.shape[1]
    blocks = (inner + COLUMNS - 1) // COLUMNS
    flat, totals = x.reshape(x.size), partial.reshape(partial.size)
    for task in prange(outer * pieces * blocks):
        rest, block = divmod(np.int64(task), blocks)
        o, piece = divmod(rest, pieces)
        start, stop = piece * n // pieces, (piece + 1) * n // pieces
        left = block * COLUMNS
        at, to = (o * n + start) * inner + left, (o * pieces + piece) * inner + left
        if inner == 1:
            totals[to] = row_sum(flat, at, stop - start)
        else:
            column_sums(flat, at, inner, stop - start, min(COLUMNS, inner - left), totals, to)
    for o in range(outer):
        for i in range(inner):
            total = partial[o, 0, i]
            for piece in range(1, pieces):
                total += partial[o, piece, i]
            out[o, i] = total / divisor


_sum_parallel = parallel_form(_sum)


@njit
def _sum_ints(x, out):
    outer, n, inner = x.shape
    for o in prange(outer):
        for i in range(inner):
            out[o, i] = 0
        for k in range(n):
            for i in range(inner):
                out[o, i] += x[o, k, i]


_sum_ints_parallel = parallel_form(_sum_ints)


def _sum_3d(x: np.ndarray, divisor: float) -> np.ndarray:
    """(outer, n, inner) -> (outer, inner)."""
    outer, n, inner = x.shape
    kind = x.dtype.kind
    if kind != "f":
        out = np.empty((outer, inner), _INT64)
        (_sum_ints_parallel if pays(x.size) else _sum_ints)(x, out)
        return out
    out = np.empty((outer, inner), x.dtype)
    # Few outer rows of many elements are cut into pieces, which threads can share.
    piece = PIECE if inner == 1 else COLUMN_PIECE
    pieces = 1 if x.size < 2 * piece or outer > 32 else min(n, max(1, n * inner // piece), 256 if inner == 1 else 32)
    if pieces == inner == 1:
        (sum_rows_parallel if pays(x.size) else sum_rows)(x.reshape(outer, n), out.reshape(outer), divisor)
    else:
        (_sum_parallel if pays(x.size) else _sum)(x, np.empty((outer, pieces, inner), _FLOAT64), out, divisor)
    return out


def _runs(dims: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The dims in runs of adjacent ones, last run first."""
    runs = []
    for d in reversed(dims):
        if runs and runs[-1][0] == d + 1:
            runs[-1] = (d, *runs[-1])
        else:
            runs.append((d,))
    return runs


def _sum_dims(x: np.ndarray, dims: tuple[int, ...], keepdim: bool, divisor: float) -> np.ndarray:
    if len(dims) > 1 and dims[-1] - dims[0] >= len(dims) and has_gaps(x, dims):  # run by run, which is cheaper than a transposed copy
        shape = reduced_shape(x.shape, dims, keepdim)
        *runs, last = _runs(dims)
        for run in runs:
            x = _sum_dims(x, run, True, 1.0)
        return _sum_dims(x, last, True, divisor).reshape(shape)
    x3, shape = grouped(x, dims, keepdim)
    return _sum_3d(x3, divisor).reshape(shape)


def sum(x: np.ndarray, dims: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """out[o, i] = sum_k x[o, k, i]; bools and ints give int64."""
    done = of_matrix(SUMS, x, dims, keepdim, x.dtype)
    return _sum_dims(x, dims, keepdim, 1.0) if done is None else done


def mean(x: np.ndarray, dims: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """out[o, i] = sum_k x[o, k, i] / n."""
    done = of_matrix(MEANS, x, dims, keepdim, x.dtype)
    return _sum_dims(x, dims, keepdim, float(prod([x.shape[d] for d in dims]))) if done is None else done


def sum_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """out[j] = sum of x over the dims that were broadcast from `shape`: the transpose of broadcast_to."""
    lead = x.ndim - len(shape)
    dims = [d for d, size in enumerate(x.shape) if d < lead or (shape[d - lead] == 1 and size != 1)]
    return _sum_dims(x, tuple(dims), True, 1.0).reshape(shape) if dims else x.copy()


# ---- variance --------------------------------------------------------------------------------------------------------


@njit(fastmath=SUM)
def _row_deviation(row, mean):
    """Sum of (row[k] - mean)**2; the mean of float32 rows is subtracted in float32, where the difference is exact enough."""
    total = 0.0
    middle = row.dtype.type(mean)
    for start in range(0, row.size, 256):
        block = row[start : start + 256]
        part = row.dtype.type(0)
        for i in range(block.size):
            part += (block[i] - middle) * (block[i] - middle)
        total += part
    rest = mean - middle  # sum (x - m)^2 = sum (x - m')^2 - n (m - m')^2
    return total - row.size * rest * rest


@njit(fastmath=SUM)
def _var(x, stats, out, freedom):
    """stats (outer, 2, inner) holds the mean and the sum of squared deviations."""
    outer, n, inner = x.shape
    blocks = (inner + COLUMNS - 1) // COLUMNS
    flat = x.reshape(x.size)
    for task in prange(outer * blocks):
        o, block = divmod(np.int64(task), blocks)
        left = block * COLUMNS
        right = min(left + COLUMNS, inner)
        middle, deviation = stats[o, 0, left:right], stats[o, 1, left:right]
        if inner == 1:
            middle[0] = row_sum(flat, o * n, n) / n
            deviation[0] = _row_deviation(flat[o * n : (o + 1) * n], middle[0])
        else:
            column_sums(flat, o * n * inner + left, inner, n, right - left, middle, 0)
            for i in range(middle.size):
                middle[i] /= n
                deviation[i] = 0.0
            for k in range(n):
                row = x[o, k, left:right]
                for i in range(row.size):
                    deviation[i] += (row[i] - middle[i]) * (row[i] - middle[i])
        for i in range(right - left):
            out[o, left + i] = deviation[i] / freedom


_var_parallel = parallel_form(_var)


def var(x: np.ndarray, dims: tuple[int, ...], keepdim: bool, correction: float) -> np.ndarray:
    """out[o, i] = sum_k (x[o, k, i] - mean[o, i])**2 / max(0, n - correction), in two passes."""
    x3, shape = grouped(x, dims, keepdim)
    outer, n, inner = x3.shape
    out = np.empty((outer, inner), x.dtype)
    stats = np.empty((outer, 2, inner), _FLOAT64)
    (_var_parallel if pays(x.size) else _var)(x3, stats, out, max(0.0, float(n - correction)))
    return out.reshape(shape)


# ---- maxima ----------------------------------------------------------------------------------------------------------


@njit
def _amax(x, out):
    """Of columns, and of ints."""
    outer, n, inner = x.shape
    for o in prange(outer):
        for i in range(inner):
            out[o, i] = x[o, 0, i]
        for k in range(1, n):
            for i in range(inner):
                v, best = x[o, k, i], out[o, i]
                out[o, i] = v if not (v <= best) and best == best else best


@njit
def _max_dim(x, values, indices):
    """Of columns, and of ints."""
    outer, n, inner = x.shape
    for o in prange(outer):
        for i in range(inner):
            values[o, i] = x[o, 0, i]
            indices[o, i] = 0
        for k in range(1, n):
            for i in range(inner):
                v, best = x[o, k, i], values[o, i]
                if not (v <= best) and best == best:  # greater, or the first NaN
                    values[o, i] = v
                    indices[o, i] = k


_amax_parallel = parallel_form(_amax)
_max_dim_parallel = parallel_form(_max_dim)
_MAX_DIM = direct(_max_dim)


def _are_rows(x: np.ndarray) -> bool:
    """Whether vectors run along n: rows of floats."""
    return x.shape[2] == 1 and x.dtype.kind == "f"


def amax(x: np.ndarray, dims: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """out[o, i] = max_k x[o, k, i]; NaN if there is one."""
    done = of_matrix(MAXIMA, x, dims, keepdim, x.dtype)
    if done is not None:
        return done
    x3, shape = grouped(x, dims, keepdim)
    outer, n, inner = x3.shape
    out = np.empty((outer, inner), x.dtype)
    if _are_rows(x3):
        (amax_rows_parallel if pays(x.size) else amax_rows)(x3.reshape(outer, n), out.reshape(outer))
    else:
        (_amax_parallel if pays(x.size) else _amax)(x3, out)
    return out.reshape(shape)


def max_dim(x: np.ndarray, dim: int, keepdim: bool) -> tuple[np.ndarray, np.ndarray]:
    """values[o, i] = x[o, indices[o, i], i], the first maximum over the dim; NaN is the maximum."""
    x3, shape = grouped(x, (dim,) if x.ndim else (), keepdim)
    values, indices = np.empty(shape, x.dtype), np.empty(shape, _INT64)
    outer, n, inner = x3.shape
    if _are_rows(x3):
        kernel = max_rows_parallel if pays(x.size) else MAX_ROWS[x.dtype]
        kernel(x3.reshape(outer, n), values.reshape(outer), indices.reshape(outer))
    else:
        kernel = _max_dim_parallel if pays(x.size) else _MAX_DIM[x.dtype]
        kernel(x3, values.reshape(outer, inner), indices.reshape(outer, inner))
    return values, indices


def _small_max_dim(x: np.ndarray, dim: int, keepdim: bool) -> Callable[..., Any] | None:
    """max_dim of a matrix of floats so small that one thread does best."""
    if x.ndim != 2 or keepdim or x.dtype.kind != "f" or x.size >= PARALLEL_MIN:
        return None
    (R, C), dtype = x.shape, x.dtype
    shape = R if dim else C

    def run(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, indices = empty(shape, dtype), empty(shape, _INT64)
        if dim:
            MAX_ROWS[dtype](x, values, indices)
        else:
            _MAX_DIM[dtype](x.reshape(1, R, C), values.reshape(1, C), indices.reshape(1, C))
        return values, indices

    return run


max_dim.prepared = _small_max_dim  # type: ignore[attr-defined]


def argmax(x: np.ndarray, dim: int | None, keepdim: bool) -> np.ndarray:
    """out[o, i] = the first k where x[o, k, i] is the maximum over the dim (None: over all); NaN is the maximum."""
    dims = tuple(range(x.ndim)) if dim is None or not x.ndim else (dim,)
    done = of_matrix(PLACES, x, dims, keepdim, _INT64)
    if done is not None:
        return done
    x3, shape = grouped(x, dims, keepdim)
    if not _are_rows(x3):
        return max_dim(x3, 1, False)[1].reshape(shape)
    outer, n, _ = x3.shape
    out = np.empty(outer, _INT64)
    (argmax_rows_parallel if pays(x.size) else argmax_rows)(x3.reshape(outer, n), out)
    return out.reshape(shape)


@njit
def _max_dim_grad(g, indices, gx):
    outer, n, inner = gx.shape
    for o in prange(outer):
        for k in range(n):
            for i in range(inner):
                gx[o, k, i] = 0
        for i in range(inner):
            gx[o, indices[o, i], i] = g[o, i]


_max_dim_grad_parallel = parallel_form(_max_dim_grad)
_MAX_DIM_GRAD = direct(_max_dim_grad)


def max_dim_grad(g: np.ndarray, indices: np.ndarray, x_shape: tuple[int, ...], dim: int) -> np.ndarray:
    """gx[o, indices[o, i], i] = g[o, i], 0 elsewhere."""
    outer, n, inner = prod(x_shape[:dim]), x_shape[dim] if x_shape else 1, prod(x_shape[dim + 1 :])
    gx = np.empty(x_shape, g.dtype)
    kernel = _max_dim_grad_parallel if pays(gx.size) else _MAX_DIM_GRAD[g.dtype]
    kernel(contiguous(g).reshape(outer, inner), contiguous(indices).reshape(outer, inner), gx.reshape(outer, n, inner))
    return gx


def _small_max_dim_grad(g: np.ndarray, indices: np.ndarray, x_shape: tuple[int, ...], dim: int) -> Callable[..., Any] | None:
    """max_dim_grad of such a matrix."""
    if len(x_shape) != 2 or g.ndim != 1 or g.dtype.kind != "f" or prod(x_shape) >= PARALLEL_MIN:
        return None
    R, C = x_shape
    dtype, inner, form = g.dtype, (R, 1) if dim else (1, C), (R, C, 1) if dim else (1, R, C)

    def run(g: np.ndarray, indices: np.ndarray) -> np.ndarray:
        gx = empty(form, dtype)
        _MAX_DIM_GRAD[dtype](g.reshape(inner), indices.reshape(inner), gx)
        return gx.reshape(x_shape)

    return run


max_dim_grad.prepared = _small_max_dim_grad  # type: ignore[attr-defined]


def _small(forms: Forms) -> Any:
    """Of so few elements that one thread does best."""
    return lambda x, dims, keepdim: matrix_form(forms, x, dims, keepdim) if x.size < PARALLEL_MIN else None


def _small_argmax(x: np.ndarray, dim: int | None, keepdim: bool) -> dict[Any, Any] | None:
    form = _small(PLACES)(x, (dim,), keepdim)
    return None if form is None else {_INT64: form.get(x.dtype)}  # by the dtype of the result, as the engine asks


sum.direct = _small(SUMS)  # type: ignore[attr-defined]
mean.direct = _small(MEANS)  # type: ignore[attr-defined]
amax.direct = _small(MAXIMA)  # type: ignore[attr-defined]
argmax.direct = _small_argmax  # type: ignore[attr-defined]
