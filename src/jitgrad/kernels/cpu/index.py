"""Rows by index. Indices are int64 and in range; rows are the slices x[r] along the first dim."""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import direct, njit, parallel_form, pays, prange

_HALF = np.dtype(np.float16)
_SLICES = 16  # parts into which a parallel index_add cuts the rows of its output
_SLICED_MIN_INNER = 16  # each part reads all indices: worth it only where a row is much longer than its index


@njit
def _rows(x, inner):
    """Flat x as (rows, inner): LLVM vectorizes x[row, j] but not x[row * inner + j], which may be a negative index."""
    return x.reshape(x.size // max(inner, 1), inner)


@njit
def _take(x, idx, out):
    n = idx.size
    if n > 0:
        inner = out.size // n
        x, out = _rows(x, inner), _rows(out, inner)
        for i in prange(n):
            row = idx[i]
            for j in range(inner):
                out[i, j] = x[row, j]


@njit
def _index_add(g, idx, out):
    n = idx.size
    if n > 0:
        inner = g.size // n
        g, out = _rows(g, inner), _rows(out, inner)
        for i in range(n):
            row = idx[i]
            for j in range(inner):
                out[row, j] += g[i, j]


@njit
def _index_add_sliced(g, idx, out):
    # Each slice of rows has one owner, who meets the indices in their order: the same sums, bit for bit, as in _index_add.
    n = idx.size
    if n > 0:
        inner = g.size // n
        g, out = _rows(g, inner), _rows(out, inner)
        R = out.shape[0]
        for part in prange(_SLICES):
            low, high = part * R // _SLICES, (part + 1) * R // _SLICES
            for i in range(n):
                row = idx[i]
                if low <= row < high:
                    for j in range(inner):
                        out[row, j] += g[i, j]


@njit
def _index_put(idx, v, out):
    n = idx.size
    if n > 0:
        inner = v.size // n
        v, out = _rows(v, inner), _rows(out, inner)
        for i in range(n):
            row = idx[i]
            for j in range(inner):
                out[row, j] = v[i, j]


@njit
def _count_true(x):
    count = 0
    for i in range(x.size):
        count += x[i]
    return count


@njit
def _nonzero(x, sizes, out):
    row = 0
    for i in range(x.size):
        if x[i]:
            rest = i
            for d in range(sizes.size - 1, -1, -1):
                out[row, d] = rest % sizes[d]
                rest //= sizes[d]
            row += 1


@njit
def _first_outside(idx, low, high):
    for i in range(idx.size):
        if not low <= idx[i] < high:
            return i
    return -1


@njit
def _wrap_index(idx, size, out):
    for i in range(idx.size):
        out[i] = idx[i] + size if idx[i] < 0 else idx[i]


_take_parallel = parallel_form(_take)
_index_add_parallel = parallel_form(_index_add_sliced)


def take(x: np.ndarray, idx: np.ndarray) -> np.ndarray:
    """y[i, ...] = x[idx[i], ...]."""
    y = np.empty(idx.shape + x.shape[1:], x.dtype)
    flags = x.flags
    if x.dtype is _HALF or not (flags.c_contiguous and flags.writeable):
        y[...] = x[idx]  # NumPy gathers the few rows without a copy of all of them, and knows float16
    else:
        (_take_parallel if pays(y.size) else _take)(x.ravel(), contiguous(idx).ravel(), y.ravel())
    return y


def index_add(g: np.ndarray, idx: np.ndarray, R: int) -> np.ndarray:
    """y[r, ...] = sum over idx[i] == r of g[i, ...], in the order of i: the transpose of take."""
    y = np.zeros((R, *g.shape[idx.ndim :]), g.dtype)
    flat, idx = contiguous(g).ravel(), contiguous(idx).ravel()
    if pays(g.size) and g.size >= _SLICED_MIN_INNER * idx.size:
        _index_add_parallel(flat, idx, y.ravel())
    else:
        _index_add(flat, idx, y.ravel())
    return y


def index_put(x: np.ndarray, idx: np.ndarray, v: np.ndarray) -> np.ndarray:
    """y = x, then y[idx[i], ...] = v[i, ...] in the order of i."""
    y = x.copy()
    out, rows = y.ravel(), contiguous(v).ravel()
    if x.dtype is _HALF:  # as bits, for Numba has no float16 on the CPU
        out, rows = out.view(np.int16), rows.view(np.int16)
    _index_put(contiguous(idx).ravel(), rows, out)
    return y


def nonzero(x: np.ndarray) -> np.ndarray:
    """y[k] = the indices of the k-th element != 0 in C order; (count, x.ndim)."""
    truth = x.astype(np.bool_, "C").ravel()
    y = np.empty((_count_true(truth), x.ndim), np.int64)
    _nonzero(truth, np.array(x.shape, np.int64), y)
    return y


_FIRST_OUTSIDE = direct(_first_outside)


def first_outside(idx: np.ndarray, low: int, high: int) -> int:
    """The position in C order of the first element with not low <= idx[i] < high, or -1."""
    if idx.ndim != 1 or not idx.flags.c_contiguous or not idx.flags.writeable:
        idx = contiguous(idx).ravel()
    return _FIRST_OUTSIDE[idx.dtype](idx, low, high)


def wrap_index(idx: np.ndarray, size: int) -> np.ndarray:
    """y[i] = idx[i] + size where idx[i] < 0, else idx[i]."""
    y = np.empty(idx.shape, np.int64)
    _wrap_index(contiguous(idx).ravel(), size, y.ravel())
    return y


def argsort(x: np.ndarray, dim: int, descending: bool) -> np.ndarray:
    """x[y[0]] <= x[y[1]] <= ... along dim (descending: >=), equal elements in their order, NaN the largest; NumPy's stable sort."""
    if not x.ndim:
        return np.zeros((), np.int64)
    if not descending:
        return np.ascontiguousarray(np.argsort(x, dim, "stable"), np.int64)
    # Backwards twice: so equal elements stay in their order, and NaN, which NumPy puts last, comes first.
    y = np.flip(np.argsort(np.flip(x, dim), dim, "stable"), dim)
    return np.subtract(x.shape[dim] - 1, y, dtype=np.int64, order="C")
