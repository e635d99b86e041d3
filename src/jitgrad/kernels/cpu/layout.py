"""The canonical layouts to which launchers bring their inputs, so that a kernel has one signature per dtype."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from jitgrad.shapes import reduced_shape


def contiguous(x: np.ndarray) -> np.ndarray:
    """`x` itself if it is C-contiguous and writeable (a read-only array is another Numba type), else a copy."""
    return x if x.flags.carray else x.copy()  # carray: C-contiguous, aligned, writeable; copy() is C order and keeps 0-d


@lru_cache(4096)
def _plan(
    shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool
) -> tuple[tuple[int, ...] | None, tuple[int, int, int], tuple[int, ...]]:
    """The permutation that makes `dims` adjacent (None: they are), the sizes (outer, n, inner), and the result's shape."""
    left = reduced_shape(shape, dims, keepdim)
    n = prod([shape[d] for d in dims])
    if not dims:
        return None, (prod(shape), 1, 1), left
    first, last = dims[0], dims[-1] + 1
    if prod(shape[first:last]) == n and (n or last - first == len(dims)):  # dims of size 1 leave no gap
        return None, (prod(shape[:first]), n, prod(shape[last:])), left
    others = tuple([d for d in range(len(shape)) if d not in dims])
    return (*others, *dims), (prod([shape[d] for d in others]), n, 1), left


def has_gaps(x: np.ndarray, dims: tuple[int, ...]) -> bool:
    """Whether the sorted `dims` are not adjacent, so that the canonical form needs a copy."""
    return _plan(x.shape, dims, False)[0] is not None


def grouped(x: np.ndarray, dims: tuple[int, ...], keepdim: bool) -> tuple[np.ndarray, tuple[int, ...]]:
    """`as_outer_n_inner(x, dims)`, and the shape that results of (outer, inner) elements have."""
    order, sizes, left = _plan(x.shape, dims, keepdim)
    if order is not None:
        x = x.transpose(order)
    return (x if x.flags.carray else x.copy()).reshape(sizes), left  # as contiguous(), without the call


def as_outer_n_inner(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """`x` as a C-contiguous (outer, n, inner), n running over the sorted `dims`; a copy where they are not adjacent.

    Outer and inner together run over the other dims in their order, so results reshape to them without a transpose.
    """
    return grouped(x, dims, True)[0]


@lru_cache
def _nothing(dtype: np.dtype) -> np.ndarray:
    return np.empty(0, dtype)


def or_nothing(x: np.ndarray | None, dtype: np.dtype) -> np.ndarray:
    """`x` contiguous, or for None an array of size 0: the form in which kernels take an optional argument."""
    return _nothing(dtype) if x is None else contiguous(x)
