"""Matrix products: one thread per element of the result.

Sums are kept in blocks of `_BLOCK` products that are then added up, so that float32 errors grow with the root of K
rather than with K, at float32 speed.
"""

from __future__ import annotations

from math import prod

from numba import cuda

from jitgrad.kernels.cuda.create import full
from jitgrad.kernels.cuda.layout import DeviceArray, expanded, flat, new
from jitgrad.kernels.jit import cuda_jit, launch
from jitgrad.shapes import broadcast_shapes

_BLOCK = 128


def matmul(a: DeviceArray, b: DeviceArray) -> DeviceArray:
    """y[..., m, n] = sum over k of a[..., m, k] * b[..., k, n]."""
    *a_batch, M, K = a.shape
    *b_batch, _, N = b.shape
    batch = broadcast_shapes(tuple(a_batch), tuple(b_batch))
    y = new((*batch, M, N), a.dtype)
    a, a_step = _matrices(a, batch)
    b, b_step = _matrices(b, batch)
    launch(_matmul, y.size, a, b, y.dtype.type(0), (M, N, K, a_step, b_step), flat(y))
    return y


def _matrices(x: DeviceArray, batch: tuple[int, ...]) -> tuple[DeviceArray, int]:
    """x flat, and the elements from one matrix to the next: 0 where all of the batch share one."""
    *given, M, N = x.shape
    if prod(given) == 1:
        return flat(x), 0
    return flat(expanded(x, (*batch, M, N))), M * N


@cuda_jit
def _matmul(a, b, zero, sizes, out):
    i = cuda.grid(1)
    if i < out.size:
        M, N, K, a_step, b_step = sizes
        n = i % N
        row = i // N
        at = row // M * a_step + row % M * K
        bt = row // M * b_step + n
        total = zero
        for start in range(0, K, _BLOCK):
            part = zero
            stop = start + _BLOCK if start + _BLOCK < K else K
            for k in range(start, stop):
                part += a[at + k] * b[bt + k * N]
            total += part
        out[i] = total


def linear(x: DeviceArray, w: DeviceArray, b: DeviceArray | None) -> DeviceArray:
    """y[..., f] = b[f] + sum over k of x[..., k] * w[f, k]."""
    F, K = w.shape
    y = new((*tuple(x.shape)[:-1], F), x.dtype)
    bias = full((F,), 0, x.dtype) if b is None else flat(b)
    launch(_linear, y.size, flat(x), flat(w), bias, x.dtype.type(0), K, flat(y))
    return y


@cuda_jit
def _linear(x, w, b, zero, K, out):
    i = cuda.grid(1)
    if i < out.size:
        F = b.size
        f = i % F
        row = i // F
        total = zero
        for start in range(0, K, _BLOCK):
            part = zero
            stop = start + _BLOCK if start + _BLOCK < K else K
            for k in range(start, stop):
                part += x[row * K + k] * w[f * K + k]
            total += part
        out[i] = total + b[f]


def linear_grad_w(g: DeviceArray, x: DeviceArray) -> DeviceArray:
    """gw[f, k] = sum over all rows of g[..., f] * x[..., k]."""
    F, K = g.shape[g.ndim - 1], x.shape[x.ndim - 1]
    y = new((F, K), g.dtype)
    launch(_linear_grad_w, y.size, flat(g), flat(x), g.dtype.type(0), (F, K, g.size // max(F, 1)), flat(y))
    return y


@cuda_jit
def _linear_grad_w(g, x, zero, sizes, out):
    i = cuda.grid(1)
    if i < out.size:
        F, K, rows = sizes
        f, k = i // K, i % K
        total = zero
        for start in range(0, rows, _BLOCK):
            part = zero
            stop = start + _BLOCK if start + _BLOCK < rows else rows
            for r in range(start, stop):
                part += g[r * F + f] * x[r * K + k]
            total += part
        out[i] = total
