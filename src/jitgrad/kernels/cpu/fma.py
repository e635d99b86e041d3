"""Inner loops of convolutions with few filters in a group, where a tile would be mostly empty: rows times numbers.

Positions are counted in uint64: Numba then emits no test for negative indices, without which LLVM vectorises the loops
and compiles them in a fraction of the time that slices take.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.jit import njit


@njit
def add_8(out, to, n, w, at, step, x, starts):
    """out[to + j] += sum of w[at + k*step] * x[starts[k] + j] over k < 8, for j < n.

    One store for eight products; LLVM proves at run time that out overlaps none of eight inputs, and gives up above that.
    """
    w0, w1, w2, w3 = w[at], w[at + step], w[at + 2 * step], w[at + 3 * step]
    w4, w5, w6, w7 = w[at + 4 * step], w[at + 5 * step], w[at + 6 * step], w[at + 7 * step]
    x0, x1, x2, x3, x4, x5, x6, x7 = starts
    for j in range(n):
        low = w0 * x[x0 + j] + w1 * x[x1 + j] + w2 * x[x2 + j] + w3 * x[x3 + j]
        high = w4 * x[x4 + j] + w5 * x[x5 + j] + w6 * x[x6 + j] + w7 * x[x7 + j]
        out[to + j] += low + high


@njit
def add_1(out, to, n, w0, x, x0):
    """out[to + j] += w0 * x[x0 + j] for j < n."""
    for j in range(n):
        out[to + j] += w0 * x[x0 + j]


@njit
def eight(table, k, shift):
    """table[k] + shift and the seven after it, as add_8 takes them."""
    u = np.uint64
    a, b, c, d = table[k] + shift, table[k + 1] + shift, table[k + 2] + shift, table[k + 3] + shift
    e, f, g, h = table[k + 4] + shift, table[k + 5] + shift, table[k + 6] + shift, table[k + 7] + shift
    return u(a), u(b), u(c), u(d), u(e), u(f), u(g), u(h)


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
