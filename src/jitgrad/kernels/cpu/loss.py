"""Losses on class scores: negative log likelihood of (N, C, ...), cross entropy of (N, C)."""

from __future__ import annotations

from math import prod

import numpy as np

from jitgrad.kernels.cpu.formulas import log
from jitgrad.kernels.cpu.layout import contiguous, or_nothing
from jitgrad.kernels.cpu.softmax import MIN_WORK, row_max_and_sum
from jitgrad.kernels.jit import direct, njit, parallel_form, pays, prange
from jitgrad.kernels.simd_softmax import scaled_exp_row


@njit
def _nll(x, target, weight, losses, ignore_index):
    N, _, K = x.shape
    for n in prange(N):
        for k in range(K):
            t = target[n, k]
            losses[n, k] = 0 if t == ignore_index else -x[n, t, k] * (weight[t] if weight.size else 1)


_nll_parallel = parallel_form(_nll)


@njit
def _reduced(losses, target, weight, out, ignore_index, mean):
    """out = the sum or mean of the losses, and the sum of the weights that count."""
    loss = total = 0.0
    for n in range(losses.size):
        t = target[n]
        if t != ignore_index:
            loss += losses[n]
            total += weight[t] if weight.size else 1.0
    out[0] = loss if not mean else loss / total if total != 0 else np.nan
    out[1] = total


@njit
def _nll_grad(g, target, weight, gx, ignore_index):
    """g has one element, or one for each target."""
    N, K = target.shape
    single = g.size == 1
    for n in prange(N):
        for c in range(gx.shape[1]):
            for k in range(K):
                gx[n, c, k] = 0
        for k in range(K):
            t = target[n, k]
            if t != ignore_index:
                gx[n, t, k] = -g[0 if single else n * K + k] * (weight[t] if weight.size else 1)


_nll_grad_parallel = parallel_form(_nll_grad)


def _sizes(x_shape: tuple[int, ...]) -> tuple[int, int, int]:
    return x_shape[0], x_shape[1], prod(x_shape[2:])


def nll(x: np.ndarray, target: np.ndarray, weight: np.ndarray | None, ignore_index: int, reduction: str) -> tuple[np.ndarray, np.ndarray]:
    """losses[n, ...] = -weight[t] * x[n, t, ...] with t = target[n, ...], 0 where t == ignore_index; reduced; and the weights' sum."""
    N, C, K = _sizes(x.shape)
    x, labels, w = contiguous(x).reshape(N, C, K), contiguous(target).reshape(N, K), or_nothing(weight, x.dtype)
    losses, out = np.empty(target.shape, x.dtype), np.empty(2, x.dtype)
    (_nll_parallel if pays(target.size) else _nll)(x, labels, w, losses.reshape(N, K), ignore_index)
    _reduced(losses.reshape(-1), labels.reshape(-1), w, out, ignore_index, reduction == "mean")
    return losses if reduction == "none" else out[0, ...], out[1, ...]


def nll_grad(g: np.ndarray, target: np.ndarray, weight: np.ndarray | None, x_shape: tuple[int, ...], ignore_index: int) -> np.ndarray:
    """gx[n, t, ...] = -weight[t] * g[n, ...] (or g, if one number) with t = target[n, ...], zero elsewhere and where t == ignore_index."""
    gx = np.empty(x_shape, g.dtype)
    N, C, K = _sizes(x_shape)
    run = _nll_grad_parallel if pays(gx.size) else _nll_grad
    run(contiguous(g).reshape(g.size), contiguous(target).reshape(N, K), or_nothing(weight, g.dtype), gx.reshape(N, C, K), ignore_index)
    return gx


# ---- cross entropy


@njit
def _cross_entropy(x, target, weight, stats, losses, ignore_index):
    """losses = -weight[t] log softmax(x)[t]; stats (N, 2) gets each row's maximum and its sum of exponentials."""
    N, C = x.shape
    flat = x.reshape(x.size)
    for n in prange(N):
        stats[n, 0], total = row_max_and_sum(flat, np.int64(n) * C, C)  # Numba counts parallel loops in uint64
        stats[n, 1] = total
        label = target[n]
        losses[n] = 0
        if label != ignore_index:
            loss = log(x.dtype.type(total)) - (x[n, label] - stats[n, 0])
            losses[n] = loss * weight[label] if weight.size else loss


_cross_entropy_parallel = parallel_form(_cross_entropy)


@njit
def _cross_entropy_reduced(x, target, weight, stats, losses, out, ignore_index, mean):
    """_cross_entropy and _reduced in one call."""
    _cross_entropy(x, target, weight, stats, losses, ignore_index)
    _reduced(losses, target, weight, out, ignore_index, mean)


_CROSS_ENTROPY = direct(_cross_entropy_reduced)


@njit
def _cross_entropy_grad(g, x, stats, target, gx, ignore_index):
    """g has one element, or one for each row."""
    N, C = x.shape
    single = g.size == 1
    x_flat, flat = x.reshape(x.size), gx.reshape(x.size)
    for row in prange(N):
        n = np.int64(row)
        at, label = n * C, target[n]
        if label == ignore_index:
            flat[at : at + C] = 0
        else:
            scale = g[0 if single else n]
            scaled_exp_row(x_flat, at, flat, at, C, stats[n, 0], scale / stats[n, 1])
            flat[at + label] -= scale


_cross_entropy_grad_parallel = parallel_form(_cross_entropy_grad)
_CROSS_ENTROPY_GRAD = direct(_cross_entropy_grad)


def cross_entropy(
    x: np.ndarray, target: np.ndarray, weight: np.ndarray | None, ignore_index: int, reduction: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """losses[n] = -weight[t] log p[n, t] with t = target[n] and p = softmax(x[n]), 0 where t == ignore_index; reduced.

    And the sum of the weights that count, and stats[n] = max x[n], sum exp(x[n] - max x[n]).
    """
    dtype = x.dtype
    x, labels, w = contiguous(x), contiguous(target), or_nothing(weight, dtype)
    stats, losses, out = np.empty((x.shape[0], 2), dtype), np.empty(labels.shape, dtype), np.empty(2, dtype)
    if pays(x.size, MIN_WORK):
        _cross_entropy_parallel(x, labels, w, stats, losses, ignore_index)
        _reduced(losses, labels, w, out, ignore_index, reduction == "mean")
    else:
        _CROSS_ENTROPY[dtype](x, labels, w, stats, losses, out, ignore_index, reduction == "mean")
    return losses if reduction == "none" else out[0, ...], out[1, ...], stats


def cross_entropy_grad(g: np.ndarray, x: np.ndarray, stats: np.ndarray, target: np.ndarray, ignore_index: int) -> np.ndarray:
    """gx[n, c] = g[n] (or g, if one number) (p[n, c] - (c == t)) with p = exp(x - stats[n, 0]) / stats[n, 1], 0 where t == ignore_index."""
    gx = np.empty(x.shape, x.dtype)
    run = _cross_entropy_grad_parallel if pays(gx.size, MIN_WORK) else _CROSS_ENTROPY_GRAD[x.dtype]
    run(contiguous(g).ravel(), contiguous(x), contiguous(stats), contiguous(target), gx, ignore_index)
    return gx
