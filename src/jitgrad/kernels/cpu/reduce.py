"""Reductions. Every kernel sees (outer, n, inner) and reduces over n; inner == 1 means rows, else columns."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from jitgrad.kernels.cpu.layout import grouped, has_gaps
from jitgrad.kernels.jit import SUM, direct, njit, parallel_form, pays, prange
from jitgrad.shapes import reduced_shape

COLUMNS = 1024  # columns that one task sums: their float64 totals stay in the L1 cache
FEW = 16  # elements of a row for which vector loops and their preparations take longer than plain ones
SMALL = 2048  # elements up to which a sum is dominated by its call
PIECE = 1 << 14  # elements of one piece of a long sum; fixed, so the result does not depend on the thread count
_FLOAT64, _INT64 = np.dtype(np.float64), np.dtype(np.int64)
_NO_PARTIAL = np.empty((0, 1, 0), _FLOAT64)  # single rows go straight to the result


# ---- sums ------------------------------------------------------------------------------------------------------------


@njit(fastmath=SUM)
def row_sum(row):
    """Sum of a contiguous row: short blocks in its dtype (the lanes of a vector), their totals in float64."""
    total = 0.0
    for start in range(0, row.size, 256):
        block = row[start : start + 256]
        part = row.dtype.type(0)
        for i in range(block.size):
            part += block[i]
        total += part
    return total


@njit(inline=True)
def few_sum(x, o):
    """Sum of row o of a matrix of at most FEW columns."""
    total = 0.0
    for k in range(x.shape[1]):
        total += x[o, k]
    return total


@njit(fastmath=SUM)
def column_sums(x, o, start, stop, left, total):
    """total[i] = sum over k in [start, stop) of x[o, k, left + i]; four rows at once halve the conversions to float64."""
    right = left + total.size
    total[:] = 0.0
    k = start
    while k + 4 <= stop:
        a, b, c, d = x[o, k, left:right], x[o, k + 1, left:right], x[o, k + 2, left:right], x[o, k + 3, left:right]
        for i in range(total.size):
            total[i] += (a[i] + b[i]) + (c[i] + d[i])
        k += 4
    while k < stop:
        a = x[o, k, left:right]
        for i in range(total.size):
            total[i] += a[i]
        k += 1


@njit(fastmath=SUM)
def _sum(x, partial, out, divisor):
    outer, n, inner = x.shape
    pieces = partial.shape[1]
    blocks = (inner + COLUMNS - 1) // COLUMNS
    flat = x.reshape(x.size)
    for task in prange(outer * pieces * blocks):
        rest, block = divmod(np.int64(task), blocks)  # Numba counts parallel loops in uint64
        o, piece = divmod(rest, pieces)
        start, stop = piece * n // pieces, (piece + 1) * n // pieces
        if inner == 1:
            total = row_sum(flat[o * n + start : o * n + stop])
            if pieces == 1:
                out[o, 0] = total / divisor
            else:
                partial[o, piece, 0] = total
        else:
            left = block * COLUMNS
            column_sums(x, o, start, stop, left, partial[o, piece, left : min(left + COLUMNS, inner)])
    for o in range(outer if partial.size else 0):
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
    # Few outer rows of many elements are cut into pieces, which threads can share.
    pieces = 1 if x.size < 2 * PIECE or outer > 32 else min(n, max(1, n * inner // PIECE), 256)
    partial = _NO_PARTIAL if pieces == inner == 1 else np.empty((outer, pieces, inner), _FLOAT64)
    out = np.empty((outer, inner), x.dtype)
    (_sum_parallel if pays(x.size) else _sum)(x, partial, out, divisor)
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


@njit(fastmath=SUM)
def _sum_all(x, out):
    flat = x.reshape(x.size)
    total = 0.0
    for i in range(flat.size):
        total += flat[i]
    out[()] = total


@njit(fastmath=SUM)
def _sum_rows(x, out):
    for j in range(out.size):
        total = 0.0
        for i in range(x.shape[0]):
            total += x[i, j]
        out[j] = total


_SUM_ALL, _SUM_ROWS = direct(_sum_all), direct(_sum_rows)


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
    small = _small_sum(x, dims, keepdim)
    if small is not None and x.flags.carray:
        out = np.empty((x.shape[1],) if len(dims) == 1 else (), x.dtype)
        small[x.dtype](x, out)
        return out
    return _sum_dims(x, dims, keepdim, 1.0)


def _small_sum(x: np.ndarray, dims: tuple[int, ...], keepdim: bool) -> dict[Any, Any] | None:
    """One short call instead of a plan, for a small matrix: its sum, or the sum of its rows."""
    if x.ndim != 2 or keepdim or x.size > SMALL or x.dtype.kind != "f":
        return None
    return _SUM_ALL if len(dims) == 2 else _SUM_ROWS if dims == (0,) else None


sum.direct = _small_sum  # type: ignore[attr-defined]


def mean(x: np.ndarray, dims: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """out[o, i] = sum_k x[o, k, i] / n."""
    return _sum_dims(x, dims, keepdim, float(prod([x.shape[d] for d in dims])))


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
            middle[0] = row_sum(flat[o * n : (o + 1) * n]) / n
            deviation[0] = _row_deviation(flat[o * n : (o + 1) * n], middle[0])
        else:
            column_sums(x, o, 0, n, left, middle)
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
def row_max(row):
    """Maximum of a row of at least one element, NaN if there is one; four running maxima hide the latency of compare."""
    a = b = c = d = row[0]
    k = 0
    while k + 4 <= row.size:
        v, w, x, y = row[k], row[k + 1], row[k + 2], row[k + 3]
        # `not v <= a` is true for a NaN v, and `a == a` keeps a NaN that is already there.
        a = v if not (v <= a) and a == a else a
        b = w if not (w <= b) and b == b else b
        c = x if not (x <= c) and c == c else c
        d = y if not (y <= d) and d == d else d
        k += 4
    while k < row.size:
        v = row[k]
        a = v if not (v <= a) and a == a else a
        k += 1
    a = b if not (b <= a) and a == a else a
    c = d if not (d <= c) and c == c else c
    return c if not (c <= a) and a == a else a


@njit(inline=True)
def few_max(x, o):
    """Maximum of row o of a matrix of 1 to FEW columns, NaN if there is one."""
    high = x[o, 0]
    for k in range(1, x.shape[1]):
        v = x[o, k]
        high = v if not (v <= high) and high == high else high
    return high


@njit
def _amax(x, out):
    outer, n, inner = x.shape
    flat = x.reshape(x.size)
    for o in prange(outer):
        if inner == 1:
            out[o, 0] = row_max(flat[o * n : (o + 1) * n])
        else:
            for i in range(inner):
                out[o, i] = x[o, 0, i]
            for k in range(1, n):
                for i in range(inner):
                    v, best = x[o, k, i], out[o, i]
                    out[o, i] = v if not (v <= best) and best == best else best


_amax_parallel = parallel_form(_amax)


def amax(x: np.ndarray, dims: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """out[o, i] = max_k x[o, k, i]; NaN if there is one."""
    x3, shape = grouped(x, dims, keepdim)
    out = np.empty((x3.shape[0], x3.shape[2]), x.dtype)
    (_amax_parallel if pays(x.size) else _amax)(x3, out)
    return out.reshape(shape)


@njit
def _max_dim(x, values, indices):
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


_max_dim_parallel = parallel_form(_max_dim)


def _max_3d(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(outer, n, inner) -> values and positions, (outer, inner)."""
    outer, _, inner = x.shape
    values, indices = np.empty((outer, inner), x.dtype), np.empty((outer, inner), _INT64)
    (_max_dim_parallel if pays(x.size) else _max_dim)(x, values, indices)
    return values, indices


def max_dim(x: np.ndarray, dim: int, keepdim: bool) -> tuple[np.ndarray, np.ndarray]:
    """values[o, i] = x[o, indices[o, i], i], the first maximum over the dim; NaN is the maximum."""
    x3, shape = grouped(x, (dim,) if x.ndim else (), keepdim)
    values, indices = _max_3d(x3)
    return values.reshape(shape), indices.reshape(shape)


def argmax(x: np.ndarray, dim: int | None, keepdim: bool) -> np.ndarray:
    """out[o, i] = the first k where x[o, k, i] is the maximum over the dim (None: over all); NaN is the maximum."""
    dims = tuple(range(x.ndim)) if dim is None or not x.ndim else (dim,)
    x3, shape = grouped(x, dims, keepdim)
    return _max_3d(x3)[1].reshape(shape)
