"""Inner loops of convolutions with few filters in a group, where a tile would be mostly empty: one filter at a time.

Positions are counted in uint64: Numba then emits no test for negative indices, without which LLVM vectorises the loops
and compiles them in a fraction of the time that slices take.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.fma import add_1, add_8, eight
from jitgrad.kernels.jit import njit


@njit
def add_taps(out, to, n, w, at, step, x, table, first, last, shift):
    """out[to + j] = sum of w[at + k*step] * x[table[first + k] + shift + j] over k < last - first, for j < n."""
    zero, one, size = np.uint64(to), np.uint64(step), np.uint64(n)
    for j in range(size):
        out[zero + j] = 0
    count = last - first
    eights = count // 8 * 8
    for k in range(0, eights, 8):
        add_8(out, zero, size, w, np.uint64(at + k * step), one, x, eight(table, first + k, shift))
    for k in range(eights, count):
        add_1(out, zero, size, w[at + k * step], x, np.uint64(table[first + k] + shift))
