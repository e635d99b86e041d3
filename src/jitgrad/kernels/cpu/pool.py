"""Pooling over windows of the planes of (N, C, H, W). Windows are cut off at the edge of the image, which equals padding."""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import njit, parallel_form, pays, prange
from jitgrad.shapes import pool_size

Pair = tuple[int, int]


def _planes(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) as contiguous (N*C, H, W)."""
    N, C, H, W = x.shape
    return contiguous(x).reshape((N * C, H, W))


# ---- maximum ---------------------------------------------------------------------------------------------------------


@njit
def _max_pool2d(x, y, indices, kernel, stride, padding, dilation):
    P, H, W = x.shape
    _, OH, OW = y.shape
    KH, KW = kernel
    for p in prange(P):
        for oy in range(OH):
            top = oy * stride[0] - padding[0]
            for ox in range(OW):
                left = ox * stride[1] - padding[1]
                best, index = x.dtype.type(0), -1
                for ky in range(KH):
                    i = top + ky * dilation[0]
                    if 0 <= i < H:
                        for kx in range(KW):
                            j = left + kx * dilation[1]
                            if 0 <= j < W:
                                v = x[p, i, j]
                                # The first pixel, a greater one, or the first NaN.
                                if index < 0 or (not (v <= best) and best == best):
                                    best, index = v, i * W + j
                y[p, oy, ox] = best
                indices[p, oy, ox] = index


_max_pool2d_parallel = parallel_form(_max_pool2d)


def max_pool2d(
    x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[np.ndarray, np.ndarray]:
    """y[n, c, oy, ox] = max_{ky, kx} x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW], and its index i*W + j; first maximum, NaN wins."""
    N, C, H, W = x.shape
    OH = pool_size(H, kernel_size[0], stride[0], padding[0], dilation[0], ceil_mode)
    OW = pool_size(W, kernel_size[1], stride[1], padding[1], dilation[1], ceil_mode)
    y, indices = np.empty((N * C, OH, OW), x.dtype), np.empty((N * C, OH, OW), np.int64)
    run = _max_pool2d_parallel if pays(y.size * kernel_size[0] * kernel_size[1]) else _max_pool2d
    run(_planes(x), y, indices, kernel_size, stride, padding, dilation)
    return y.reshape((N, C, OH, OW)), indices.reshape((N, C, OH, OW))


@njit
def _max_pool2d_grad(g, indices, gx):
    for p in prange(g.shape[0]):
        gx[p] = 0
        for i in range(g.shape[1]):
            gx[p, indices[p, i]] += g[p, i]


_max_pool2d_grad_parallel = parallel_form(_max_pool2d_grad)


def max_pool2d_grad(g: np.ndarray, indices: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
    """gx[n, c].flat[indices[n, c, oy, ox]] += g[n, c, oy, ox]."""
    N, C, H, W = x_shape
    windows = (N * C, g.shape[2] * g.shape[3])
    gx = np.empty((N * C, H * W), g.dtype)
    run = _max_pool2d_grad_parallel if pays(gx.size) else _max_pool2d_grad
    run(contiguous(g).reshape(windows), contiguous(indices).reshape(windows), gx)
    return gx.reshape(x_shape)


@njit
def _max_pool2d_gather(x, indices, y):
    for p in prange(y.shape[0]):
        for i in range(y.shape[1]):
            y[p, i] = x[p, indices[p, i]]


_max_pool2d_gather_parallel = parallel_form(_max_pool2d_gather)


def max_pool2d_gather(x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """y[n, c, oy, ox] = x[n, c].flat[indices[n, c, oy, ox]], the transpose of max_pool2d_grad."""
    N, C, H, W = x.shape
    windows = (N * C, indices.shape[2] * indices.shape[3])
    y = np.empty(windows, x.dtype)
    run = _max_pool2d_gather_parallel if pays(y.size) else _max_pool2d_gather
    run(contiguous(x).reshape((N * C, H * W)), contiguous(indices).reshape(windows), y)
    return y.reshape(indices.shape)


# ---- average ---------------------------------------------------------------------------------------------------------


@njit
def _window(o, kernel, stride, padding, size):
    """First and one-past-last pixel of window o along one dim inside the image, and its length with padding."""
    start = o * stride - padding
    stop = min(start + kernel, size + padding)  # ceil_mode: what lies behind the padding never counts
    return max(start, 0), min(stop, size), stop - start


@njit
def _divisor(rows, columns, padded, include_pad, divisor):
    """What a window is divided by: `divisor` unless 0, the window with its padding, or its pixels only."""
    if divisor:
        return divisor
    return padded if include_pad else rows * columns


@njit
def _avg_pool2d(x, y, kernel, stride, padding, include_pad, divisor):
    P, H, W = x.shape
    _, OH, OW = y.shape
    for p in prange(P):
        for oy in range(OH):
            top, bottom, tall = _window(oy, kernel[0], stride[0], padding[0], H)
            for ox in range(OW):
                left, right, wide = _window(ox, kernel[1], stride[1], padding[1], W)
                total = 0.0
                for i in range(top, bottom):
                    for j in range(left, right):
                        total += x[p, i, j]
                y[p, oy, ox] = total / _divisor(bottom - top, right - left, tall * wide, include_pad, divisor)


_avg_pool2d_parallel = parallel_form(_avg_pool2d)


def avg_pool2d(
    x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool, divisor: int
) -> np.ndarray:
    """y[n, c, oy, ox] = sum_{ky, kx} x[n, c, oy*SH - PH + ky, ox*SW - PW + kx] / divisor (0: the size of the window)."""
    N, C, H, W = x.shape
    OH = pool_size(H, kernel_size[0], stride[0], padding[0], 1, ceil_mode)
    OW = pool_size(W, kernel_size[1], stride[1], padding[1], 1, ceil_mode)
    y = np.empty((N * C, OH, OW), x.dtype)
    run = _avg_pool2d_parallel if pays(y.size * kernel_size[0] * kernel_size[1]) else _avg_pool2d
    run(_planes(x), y, kernel_size, stride, padding, count_include_pad, divisor)
    return y.reshape((N, C, OH, OW))


@njit
def _avg_pool2d_grad(g, gx, kernel, stride, padding, include_pad, divisor):
    P, OH, OW = g.shape
    _, H, W = gx.shape
    for p in prange(P):
        gx[p] = 0
        for oy in range(OH):
            top, bottom, tall = _window(oy, kernel[0], stride[0], padding[0], H)
            for ox in range(OW):
                left, right, wide = _window(ox, kernel[1], stride[1], padding[1], W)
                share = g[p, oy, ox] / _divisor(bottom - top, right - left, tall * wide, include_pad, divisor)
                for i in range(top, bottom):
                    for j in range(left, right):
                        gx[p, i, j] += share


_avg_pool2d_grad_parallel = parallel_form(_avg_pool2d_grad)


def avg_pool2d_grad(
    g: np.ndarray,
    x_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,  # the shape of g says it
    count_include_pad: bool,
    divisor: int,
) -> np.ndarray:
    """gx[n, c, oy*SH - PH + ky, ox*SW - PW + kx] += g[n, c, oy, ox] / divisor."""
    N, C, H, W = x_shape
    gx = np.empty((N * C, H, W), g.dtype)
    run = _avg_pool2d_grad_parallel if pays(g.size * kernel_size[0] * kernel_size[1]) else _avg_pool2d_grad
    run(_planes(g), gx, kernel_size, stride, padding, count_include_pad, divisor)
    return gx.reshape(x_shape)


# ---- average over windows that cover the image -----------------------------------------------------------------------


@njit
def _share(o, size, out_size):
    """First and one-past-last pixel of window o of out_size along a dim: floor(o size / out_size), ceil((o + 1) size / out_size)."""
    return o * size // out_size, ((o + 1) * size + out_size - 1) // out_size


@njit
def _adaptive_avg_pool2d(x, y):
    P, H, W = x.shape
    _, OH, OW = y.shape
    for p in prange(P):
        for oy in range(OH):
            top, bottom = _share(oy, H, OH)
            for ox in range(OW):
                left, right = _share(ox, W, OW)
                total = 0.0
                for i in range(top, bottom):
                    for j in range(left, right):
                        total += x[p, i, j]
                y[p, oy, ox] = total / ((bottom - top) * (right - left))


_adaptive_avg_pool2d_parallel = parallel_form(_adaptive_avg_pool2d)


def adaptive_avg_pool2d(x: np.ndarray, output_size: Pair) -> np.ndarray:
    """y[n, c, oy, ox] = mean of x[n, c, i, j] over oy H / OH <= i < (oy + 1) H / OH and the like for j, bounds rounded outwards."""
    N, C = x.shape[:2]
    y = np.empty((N * C, *output_size), x.dtype)
    run = _adaptive_avg_pool2d_parallel if pays(x.size) else _adaptive_avg_pool2d
    run(_planes(x), y)
    return y.reshape((N, C, *output_size))


@njit
def _adaptive_avg_pool2d_grad(g, gx):
    P, OH, OW = g.shape
    _, H, W = gx.shape
    for p in prange(P):
        gx[p] = 0
        for oy in range(OH):
            top, bottom = _share(oy, H, OH)
            for ox in range(OW):
                left, right = _share(ox, W, OW)
                share = g[p, oy, ox] / ((bottom - top) * (right - left))
                for i in range(top, bottom):
                    for j in range(left, right):
                        gx[p, i, j] += share


_adaptive_avg_pool2d_grad_parallel = parallel_form(_adaptive_avg_pool2d_grad)


def adaptive_avg_pool2d_grad(g: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
    """gx[n, c, i, j] = sum of g[n, c, oy, ox] / size of the window over the windows that hold i, j."""
    N, C, H, W = x_shape
    gx = np.empty((N * C, H, W), g.dtype)
    run = _adaptive_avg_pool2d_grad_parallel if pays(gx.size) else _adaptive_avg_pool2d_grad
    run(_planes(g), gx)
    return gx.reshape(x_shape)
