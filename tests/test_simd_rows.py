"""Micro-kernels over rows that are longer than a test can have memory for: what they say before the end of the row."""

from __future__ import annotations

import numpy as np
import pytest

from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd_rows import find


@njit
def _place(x, n, value):  # type: ignore[no-untyped-def]
    return find(x, 0, n, value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 7, 200, 2**31 - 1, 2**31, 2**31 + 64, 2**32 + 3])
def test_find(n: int, dtype: type) -> None:
    x = np.ones(256, dtype)  # nothing behind a hit is read
    assert _place(x, n, dtype(1)) == 0
    x[0] = 0
    assert _place(x, n, dtype(1)) == 1
    x[0] = np.nan
    assert _place(x, n, dtype(1)) == 0
