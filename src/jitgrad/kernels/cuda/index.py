"""Rows taken, added and put by index, and the places of nonzero elements. All results are deterministic."""

from __future__ import annotations

from math import prod

import numpy as np
from numba import cuda

from jitgrad.kernels.cpu.index import argsort as sort_on_host
from jitgrad.kernels.cuda.create import full
from jitgrad.kernels.cuda.layout import DeviceArray, flat, flat_words, new, upload
from jitgrad.kernels.cuda.views import cast
from jitgrad.kernels.jit import cuda_jit, launch

_INT64, _BOOL = np.dtype(np.int64), np.dtype(np.bool_)
_THREADS = 1 << 16  # that scan in parallel, at most


def take(x: DeviceArray, idx: DeviceArray) -> DeviceArray:
    """y[i, ...] = x[idx[i], ...]."""
    row_shape = tuple(x.shape)[1:]
    y = new(tuple(idx.shape) + row_shape, x.dtype)
    launch(_take, y.size, flat_words(x), flat(idx), prod(row_shape), flat_words(y))
    return y


@cuda_jit
def _take(x, idx, columns, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = x[idx[i // columns] * columns + i % columns]


def index_add(g: DeviceArray, idx: DeviceArray, R: int) -> DeviceArray:
    """gx[r, ...] = sum of the g[i, ...] whose idx[i] is r, in the order of i.

    No atomics: a thread owns one column of every `parts`-th row, and scans all of idx for them.
    """
    row_shape = tuple(g.shape)[idx.ndim :]
    gx = full((R, *row_shape), 0, g.dtype)
    columns = prod(row_shape)
    parts = min(R, max(1, _THREADS // max(columns, 1)))
    launch(_index_add, parts * columns, flat(g), flat(idx), columns, parts, flat(gx))
    return gx


@cuda_jit
def _index_add(g, idx, columns, parts, out):
    i = cuda.grid(1)
    if i < parts * columns:
        part, column = i // columns, i % columns
        for j in range(idx.size):
            r = idx[j]
            if r % parts == part:
                out[r * columns + column] += g[j * columns + column]


def index_put(x: DeviceArray, idx: DeviceArray, v: DeviceArray) -> DeviceArray:
    """y = x with y[idx[i], ...] = v[i, ...]; of equal indices the last wins."""
    R, *row_shape = tuple(x.shape)
    y = new((R, *row_shape), x.dtype)
    winner = full((R,), -1, _INT64)
    launch(_last_of, idx.size, flat(idx), winner)
    launch(_index_put, y.size, flat_words(x), winner, flat_words(v), prod(row_shape), flat_words(y))
    return y


@cuda_jit
def _last_of(idx, out):
    i = cuda.grid(1)
    if i < idx.size:
        cuda.atomic.max(out, idx[i], i)


@cuda_jit
def _index_put(x, winner, v, columns, out):
    i = cuda.grid(1)
    if i < out.size:
        j = winner[i // columns]
        if j < 0:
            out[i] = x[i]
        else:
            out[i] = v[j * columns + i % columns]


def nonzero(x: DeviceArray) -> DeviceArray:
    """y[k] = the index of the k-th nonzero element in C order; the number of them passes through the host."""
    marks = flat(x if x.dtype == _BOOL else cast(x, _BOOL))
    chunk = max(64, -(-marks.size // _THREADS))
    counts = new((-(-marks.size // chunk),), _INT64)
    launch(_count, counts.size, marks, chunk, counts)
    ends = np.cumsum(counts.copy_to_host())
    total = int(ends[-1]) if ends.size else 0
    y = new((total, x.ndim), _INT64)
    if total and x.ndim:
        places = new((total,), _INT64)
        launch(_places, counts.size, marks, chunk, counts, upload(ends), places)
        step = 1
        for d in range(x.ndim - 1, -1, -1):
            size = tuple(x.shape)[d]
            launch(_coordinate, total, places, step, size, d, x.ndim, flat(y))
            step *= size
    return y


@cuda_jit
def _count(marks, chunk, out):
    i = cuda.grid(1)
    if i < out.size:
        count = 0
        stop = (i + 1) * chunk if (i + 1) * chunk < marks.size else marks.size
        for k in range(i * chunk, stop):
            if marks[k]:
                count += 1
        out[i] = count


@cuda_jit
def _places(marks, chunk, counts, ends, out):
    i = cuda.grid(1)
    if i < counts.size:
        at = ends[i] - counts[i]
        stop = (i + 1) * chunk if (i + 1) * chunk < marks.size else marks.size
        for k in range(i * chunk, stop):
            if marks[k]:
                out[at] = k
                at += 1


@cuda_jit
def _coordinate(places, step, size, d, ndim, out):
    i = cuda.grid(1)
    if i < places.size:
        out[i * ndim + d] = places[i] // step % size


def first_outside(idx: DeviceArray, low: int, high: int) -> int:
    """The first i for which low <= idx[i] < high does not hold, or -1; it passes through the host."""
    first = full((1,), idx.size, _INT64)
    launch(_first_outside, idx.size, flat(idx), low, high, first)
    place = int(first.copy_to_host()[0])
    return place if place < idx.size else -1


@cuda_jit
def _first_outside(idx, low, high, out):
    i = cuda.grid(1)
    if i < idx.size and not low <= idx[i] < high:
        cuda.atomic.min(out, 0, i)


def wrap_index(idx: DeviceArray, size: int) -> DeviceArray:
    """y[i] = idx[i] + size where idx[i] < 0, else idx[i]."""
    y = new(tuple(idx.shape), _INT64)
    launch(_wrap_index, y.size, flat(idx), size, flat(y))
    return y


@cuda_jit
def _wrap_index(idx, size, out):
    i = cuda.grid(1)
    if i < out.size:
        at = idx[i]
        out[i] = at + size if at < 0 else at


def argsort(x: DeviceArray, dim: int, descending: bool) -> DeviceArray:
    """x[y[0]] <= x[y[1]] <= ... along dim (descending: >=), equal elements in their order; sorted by NumPy on the host."""
    host = x.copy_to_host() if x.size else np.empty(tuple(x.shape), x.dtype)
    return upload(sort_on_host(host, dim, descending))
