"""Inner loops of convolutions: rows times numbers, and dot products.

Positions are counted in uint64: Numba then emits no test for negative indices, without which LLVM vectorises the loops
and compiles them in a fraction of the time that slices take.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.jit import SUM, njit


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


@njit(fastmath=SUM)
def dot(n, a, a0, b, b0):
    """sum_k a[a0 + k] * b[b0 + k] over k < n, in the lanes of a vector."""
    total = a.dtype.type(0)
    for k in range(n):
        total += a[a0 + k] * b[b0 + k]
    return total


@njit(fastmath=SUM)
def add_dots_8(totals, g, at, n, x, starts):
    """totals[k] += sum_j g[at + j] * x[starts[k] + j] for k < 8: one pass over g; totals are float64."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = g.dtype.type(0)
    x0, x1, x2, x3, x4, x5, x6, x7 = starts
    for j in range(n):
        v = g[at + j]
        s0 += v * x[x0 + j]
        s1 += v * x[x1 + j]
        s2 += v * x[x2 + j]
        s3 += v * x[x3 + j]
        s4 += v * x[x4 + j]
        s5 += v * x[x5 + j]
        s6 += v * x[x6 + j]
        s7 += v * x[x7 + j]
    totals[0] += s0
    totals[1] += s1
    totals[2] += s2
    totals[3] += s3
    totals[4] += s4
    totals[5] += s5
    totals[6] += s6
    totals[7] += s7


@njit
def eight(table, k, shift):
    """table[k] + shift and the seven after it, as add_8 takes them."""
    u = np.uint64
    a, b, c, d = table[k] + shift, table[k + 1] + shift, table[k + 2] + shift, table[k + 3] + shift
    e, f, g, h = table[k + 4] + shift, table[k + 5] + shift, table[k + 6] + shift, table[k + 7] + shift
    return u(a), u(b), u(c), u(d), u(e), u(f), u(g), u(h)
