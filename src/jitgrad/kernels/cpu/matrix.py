"""Reductions of matrices of floats, which most are: rows by vector micro-kernels, forms that the engine calls itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.kernels.jit import direct, njit, parallel_form, pays, prange
from jitgrad.kernels.simd_rows import COLUMN_BYTES, add_columns, find, max_row, sum_row
from jitgrad.shapes import reduced_shape

BLOCK = 1024  # elements of a row that are added in its dtype, in dozens of lanes; 4096 take as long and err 1.6 times as much
ROWS = 64  # elements of a column that are added in its dtype
MOST = 4096  # rows for which the sums of ROWS rows may be added in the dtype, too


@njit(inline=True)
def row_sum(x, at, n):
    """sum of x[at + k] for k < n, x flat: blocks in its dtype (the lanes of vectors), their totals in float64."""
    total = np.float64(sum_row(x, at, min(BLOCK, n)))  # Numba's float() leaves a float32 one
    k = BLOCK
    while k < n:  # a range would first divide to know its length, which rows of a few elements notice
        total += sum_row(x, at + k, min(BLOCK, n - k))
        k += BLOCK
    return total


@njit
def column_sums(x, at, pitch, n, width, total, to):
    """total[to + j] = sum of x[at + k pitch + j] for k < n, j < width, both flat: 64 rows in the dtype of x, the rest in total's."""
    for j in range(width):
        total[to + j] = 0
    step = COLUMN_BYTES // x.itemsize
    for k in range(0, n, ROWS):
        for j in range(0, width, step):
            add_columns(x, at + k * pitch + j, pitch, min(ROWS, n - k), min(step, width - j), total, to + j)


@njit
def sum_rows(x, out, divisor):
    R, C = x.shape
    flat = x.reshape(x.size)
    for r in prange(R):
        total = row_sum(flat, np.int64(r) * C, C)  # Numba counts parallel loops in uint64
        out[r] = total if divisor == 1.0 else total / divisor


@njit
def amax_rows(x, out):
    R, C = x.shape
    flat = x.reshape(x.size)
    for r in prange(R):
        out[r] = max_row(flat, np.int64(r) * C, C)


@njit
def argmax_rows(x, out):
    R, C = x.shape
    flat = x.reshape(x.size)
    for r in prange(R):
        at = np.int64(r) * C
        out[r] = find(flat, at, C, max_row(flat, at, C))


@njit
def max_rows(x, values, indices):
    R, C = x.shape
    flat = x.reshape(x.size)
    for r in prange(R):
        at = np.int64(r) * C
        values[r] = max_row(flat, at, C)
        indices[r] = find(flat, at, C, values[r])


sum_rows_parallel = parallel_form(sum_rows)
amax_rows_parallel = parallel_form(amax_rows)
argmax_rows_parallel = parallel_form(argmax_rows)
max_rows_parallel = parallel_form(max_rows)
MAX_ROWS = direct(max_rows)


# ---- compiled forms: from a matrix to its result


@njit
def _all_sum(x, out):
    out[()] = row_sum(x.reshape(x.size), 0, x.size)


@njit
def _all_mean(x, out):
    out[()] = row_sum(x.reshape(x.size), 0, x.size) / x.size


@njit
def _column_sums(x, out):
    R, C = x.shape
    column_sums(x.reshape(x.size), 0, C, R, C, out, 0)


@njit
def _column_means(x, out):
    _column_sums(x, out)
    for i in range(out.size):
        out[i] /= x.dtype.type(x.shape[0])


@njit
def _row_sums(x, out):
    sum_rows(x, out, 1.0)


@njit
def _row_means(x, out):
    sum_rows(x, out, float(x.shape[1]))


Forms = dict[tuple[int, ...], dict[Any, Any]]  # by the dims that are reduced, by dtype
SUMS: Forms = {(0, 1): direct(_all_sum), (0,): direct(_column_sums), (1,): direct(_row_sums)}
MEANS: Forms = {(0, 1): direct(_all_mean), (0,): direct(_column_means), (1,): direct(_row_means)}
MAXIMA: Forms = {(1,): direct(amax_rows)}
PLACES: Forms = {(1,): direct(argmax_rows)}


def matrix_form(forms: Forms, x: np.ndarray, dims: tuple[int, ...], keepdim: bool) -> dict[Any, Any] | None:
    """The compiled forms for this shape. Columns longer than MOST are summed in pieces, in float64."""
    shape = x.shape
    if len(shape) != 2 or keepdim or x.dtype.kind != "f" or (shape[0] > MOST and dims == (0,)):
        return None
    return forms.get(dims)


def of_matrix(forms: Forms, x: np.ndarray, dims: tuple[int, ...], keepdim: bool, dtype: Any) -> np.ndarray | None:
    """What the compiled form makes of x, or None where there is none, or several threads do better."""
    form = matrix_form(forms, x, dims, keepdim)
    if form is None or not x.flags.carray or pays(x.size):
        return None
    out = np.empty(reduced_shape(x.shape, dims, False), dtype)
    form[x.dtype](x, out)
    return out
