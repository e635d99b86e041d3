"""New arrays."""

from __future__ import annotations

from math import copysign

import numpy as np

from jitgrad.kernels.jit import njit

_HALF_MAX = 65504  # what any float dtype can hold


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """y[i] = whatever the memory holds."""
    return np.empty(shape, dtype)


def full(shape: tuple[int, ...], value: float, dtype: np.dtype) -> np.ndarray:
    """y[i] = value."""
    if value == 0 and copysign(1.0, value) > 0:
        return np.zeros(shape, dtype)  # the system hands out zeroed memory
    y = np.empty(shape, dtype)
    if dtype.kind != "f" or -_HALF_MAX <= value <= _HALF_MAX:
        y.fill(value)
    else:
        with np.errstate(all="ignore"):  # a value that rounds to inf
            y.fill(value)
    return y


def arange(start: float, step: float, n: int, dtype: np.dtype) -> np.ndarray:
    """y[i] = start + i * step, in float64 or int64 and then rounded to dtype."""
    if dtype.kind == "f":
        if dtype.itemsize == 2:  # Numba has no float16 on the CPU
            return arange(start, step, n, np.dtype(np.float64)).astype(dtype)
        y = np.empty(n, dtype)
        _arange(float(start), float(step), y)
    else:
        y = np.empty(n, dtype)
        _arange(int(start), int(step), y)
    return y


@njit
def _arange(start, step, out):
    for i in range(out.size):
        out[i] = start + i * step
