"""Losses on class scores: negative log likelihood of (N, C, ...), cross entropy of (N, C)."""

from __future__ import annotations

import math
from math import prod

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda.create import full
from jitgrad.kernels.cuda.layout import DeviceArray, flat, new
from jitgrad.kernels.cuda.pointwise import div
from jitgrad.kernels.cuda.reduce import sum
from jitgrad.kernels.cuda.softmax import log_softmax
from jitgrad.kernels.cuda.views import cast
from jitgrad.kernels.jit import cuda_jit, launch


def nll(
    x: DeviceArray, target: DeviceArray, weight: DeviceArray | None, ignore_index: int, reduction: str
) -> tuple[DeviceArray, DeviceArray]:
    """losses[n, ...] = -weight[t] * x[n, t, ...] with t = target[n, ...], 0 where t == ignore_index; reduced; and the weights' sum."""
    C, K = x.shape[1], prod(tuple(x.shape)[2:])
    w = full((C,), 1, x.dtype) if weight is None else weight
    losses, counted = (new(tuple(target.shape), np.dtype(np.float64)) for _ in range(2))
    launch(_nll, losses.size, flat(x), flat(target), flat(w), K, ignore_index, flat(losses), flat(counted))
    dims = tuple(range(len(target.shape)))
    total = sum(counted, dims, False)
    loss = losses if reduction == "none" else sum(losses, dims, False)
    return cast(div(loss, total) if reduction == "mean" else loss, x.dtype), cast(total, x.dtype)


@cuda_jit
def _nll(x, target, weight, K, ignore_index, out, counted):
    i = cuda.grid(1)
    if i < out.size:
        t = target[i]
        out[i] = 0
        counted[i] = 0
        if t != ignore_index:
            out[i] = -weight[t] * x[(i // K * weight.size + t) * K + i % K]
            counted[i] = weight[t]


def nll_grad(g: DeviceArray, target: DeviceArray, weight: DeviceArray | None, x_shape: tuple[int, ...], ignore_index: int) -> DeviceArray:
    """gx[n, t, ...] = -weight[t] * g[n, ...] (or g, if one number) with t = target[n, ...], zero elsewhere and where t == ignore_index."""
    C, K = x_shape[1], prod(x_shape[2:])
    w = full((C,), 1, g.dtype) if weight is None else weight
    gx = new(x_shape, g.dtype)
    launch(_nll_grad, gx.size, flat(g), flat(target), flat(w), K, ignore_index, flat(gx))
    return gx


@cuda_jit
def _nll_grad(g, target, weight, K, ignore_index, out):
    i = cuda.grid(1)
    if i < out.size:
        C = weight.size
        c = i // K % C
        at = i // (K * C) * K + i % K
        t = target[at]
        out[i] = 0
        if t == c and t != ignore_index:
            out[i] = -weight[c] * g[0 if g.size == 1 else at]


def cross_entropy(
    x: DeviceArray, target: DeviceArray, weight: DeviceArray | None, ignore_index: int, reduction: str
) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    """losses[n] = -weight[t] log p[n, t] with t = target[n] and p = softmax(x[n]), 0 where t == ignore_index; reduced.

    And the sum of the weights that count, and stats[n] = max x[n], sum exp(x[n] - max x[n]).
    """
    stats = new((x.shape[0], 2), x.dtype)
    launch(_stats, x.shape[0], flat(x), x.shape[1], stats)
    return *nll(log_softmax(x, 1), target, weight, ignore_index, reduction), stats


@cuda_jit
def _stats(x, C, out):
    n = cuda.grid(1)
    if n < out.shape[0] and C > 0:
        first, last = n * C, (n + 1) * C
        top = x[first]
        for i in range(first, last):
            if x[i] > top or x[i] != x[i]:
                top = x[i]
        total = np.float64(0)
        for i in range(first, last):
            total += math.exp(x[i] - top)
        out[n, 0] = top
        out[n, 1] = total


def cross_entropy_grad(g: DeviceArray, x: DeviceArray, stats: DeviceArray, target: DeviceArray, ignore_index: int) -> DeviceArray:
    """gx[n, c] = g[n] (or g, if one number) (p[n, c] - (c == t)) with p = exp(x - stats[n, 0]) / stats[n, 1], 0 where t == ignore_index."""
    gx = new(tuple(x.shape), x.dtype)
    launch(_cross_entropy_grad, gx.size, flat(g), flat(x), stats, flat(target), x.shape[1], ignore_index, flat(gx))
    return gx


@cuda_jit
def _cross_entropy_grad(g, x, stats, target, C, ignore_index, out):
    i = cuda.grid(1)
    if i < out.size:
        n, c = i // C, i % C
        t = target[n]
        out[i] = 0
        if t != ignore_index:
            out[i] = g[0 if g.size == 1 else n] * (math.exp(x[i] - stats[n, 0]) / stats[n, 1] - (1 if c == t else 0))
