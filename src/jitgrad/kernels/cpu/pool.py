"""Pooling over windows of the planes of (N, C, H, W). Windows are cut off at the edge of the image, which equals padding.

A row of windows is made in two passes: down the columns of the image, which lie side by side in memory, so that vector instructions
take many at once, into one row of maxima or sums; then across that row. Windows of 2 or 3 with stride 2 have loops of their own:
with sizes known to the compiler, the pass across is vector code too.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import SUM, njit, parallel_form, pays, prange
from jitgrad.kernels.simd import full_vectors
from jitgrad.shapes import pool_size

SHARES = 32  # pieces of the planes that threads take
FAR = np.int32(2**31 - 1)  # a row below every image
# As literals they would have types of their own, and what is called with them a form for each.
ONE, TWO, THREE, FOUR = np.int64(1), np.int64(2), np.int64(3), np.int64(4)

Pair = tuple[int, int]


def _planes(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) as contiguous (N*C, H, W)."""
    N, C, H, W = x.shape
    return contiguous(x).reshape((N * C, H, W))


def _shares(work: int, P: int) -> int:
    """Pieces of P planes: 1 where threads do not pay."""
    return max(1, min(P, SHARES)) if pays(work) else 1


# ---- maximum ---------------------------------------------------------------------------------------------------------
# A later element takes the place of the best so far where it is greater, or NaN and the best is not. Among equals the one in the higher
# row wins, and in one row the one that is met first.


@njit(inline=True)
def _max_down(plane, top, count, step, best, rows):
    """best[j] = the maximum of plane[top + k step, j] over k < count, rows[j] = its row."""
    W = best.size
    for j in range(W):
        b, r = plane[top * W + j], np.int32(0)
        for k in range(1, count):
            v = plane[(top + k * step) * W + j]
            takes = (not v <= b) & (b == b)
            b, r = v if takes else b, np.int32(k) if takes else r
        best[j], rows[j] = b, top + r * step


@njit(inline=True)
def _max_row_below(row, i, best, rows):
    """The same with one more row of the image, row i."""
    for j in range(best.size):
        v, b = row[j], best[j]
        takes = (not v <= b) & (b == b)
        best[j], rows[j] = v if takes else b, np.int32(i) if takes else rows[j]


@njit(inline=True)
def _max_across(best, rows, y, indices, W, padding, count, stride, step):
    """y[o] = the maximum of best[o stride + k step] over k < count, indices[o] = where it is in the plane; `best` begins with padding."""
    for o in range(y.size):
        at = np.uint64(o) * np.uint64(stride)
        b, r, c = best[at], rows[at], np.int32(0)
        for k in range(1, count):
            there = at + np.uint64(k) * np.uint64(step)
            v, q = best[there], rows[there]
            equal = (v == b) | ((v != v) & (b != b))
            takes = (v > b) | ((v != v) & (b == b)) | (equal & (q < r))
            b, r, c = v if takes else b, q if takes else r, np.int32(k) if takes else c
        y[o] = b
        indices[o] = np.int64(r) * W + (o * stride - padding) + np.int64(c) * step


@njit
def _max_planes(x, y, indices, best, rows, kernel, stride, padding, dilation):
    full_vectors()
    P, H, W = x.shape
    (KH, KW), (SH, SW), (PH, PW), (DH, DW) = kernel, stride, padding, dilation
    best[:], rows[:] = -np.inf, FAR  # padding never wins
    inside, rows_inside = best[PW : PW + W], rows[PW : PW + W]
    for p in range(P):
        plane = x[p].reshape(H * W)
        for oy in range(y.shape[1]):
            top = oy * SH - PH
            above = max(0, (DH - 1 - top) // DH)  # rows of the window above the image
            top += above * DH
            count = min(KH - above, (H - top + DH - 1) // DH)
            if count == TWO:
                _max_down(plane, top, TWO, DH, inside, rows_inside)
            elif count == THREE:
                _max_down(plane, top, THREE, DH, inside, rows_inside)
            else:
                _max_down(plane, top, ONE, DH, inside, rows_inside)
                for i in range(top + DH, top + count * DH, DH):
                    _max_row_below(plane[i * W : (i + 1) * W], i, inside, rows_inside)
            if KW == 2 and SW == 2 and DW == 1:
                _max_across(best, rows, y[p, oy], indices[p, oy], W, PW, TWO, TWO, ONE)
            elif KW == 3 and SW == 2 and DW == 1:
                _max_across(best, rows, y[p, oy], indices[p, oy], W, PW, THREE, TWO, ONE)
            else:
                _max_across(best, rows, y[p, oy], indices[p, oy], W, PW, KW, SW, DW)


@njit
def _max_pool2d(x, y, indices, best, rows, kernel, stride, padding, dilation):
    """`best` and `rows`: for each share of the planes one row of the image with padding."""
    P, shares = x.shape[0], best.shape[0]
    for share in prange(shares):
        a, b = share * P // shares, (share + 1) * P // shares
        _max_planes(x[a:b], y[a:b], indices[a:b], best[share], rows[share], kernel, stride, padding, dilation)


_max_pool2d_parallel = parallel_form(_max_pool2d)


def max_pool2d(
    x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[np.ndarray, np.ndarray]:
    """y[n, c, oy, ox] = max_{ky, kx} x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW], and its index i*W + j; first maximum, NaN wins."""
    N, C, H, W = x.shape
    OH = pool_size(H, kernel_size[0], stride[0], padding[0], dilation[0], ceil_mode)
    OW = pool_size(W, kernel_size[1], stride[1], padding[1], dilation[1], ceil_mode)
    y, indices = np.empty((N, C, OH, OW), x.dtype), np.empty((N, C, OH, OW), np.int64)
    if not x.size:  # windows of padding only
        y[...], indices[...] = 0, -1
        return y, indices
    width = max(padding[1] + W, (OW - 1) * stride[1] + (kernel_size[1] - 1) * dilation[1] + 1)
    shares = _shares(y.size * kernel_size[0] * kernel_size[1], N * C)
    best, rows = np.empty((shares, width), x.dtype), np.empty((shares, width), np.int32)
    run = _max_pool2d_parallel if shares > 1 else _max_pool2d
    run(_planes(x), _planes(y), _planes(indices), best, rows, kernel_size, stride, padding, dilation)
    return y, indices


@njit
def _max_pool2d_grad(g, indices, gx):
    for p in prange(g.shape[0]):
        plane, to, values = gx[p], indices[p], g[p]
        plane[:] = 0
        for i in range(values.size):
            plane[to[i]] += values[i]


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
# Where the windows lie along a dim is a table that the launcher makes: `rows` and `columns` hold the first and the one-past-last pixel of
# each window, and `tall` and `wide` are the factors of what it is divided by. So one kernel serves windows at a stride and windows that
# cover the image. Along a row they count from the left padding, which the row of sums holds as zeros.


@njit(inline=True)
def _add_rows(plane, top, count, sums):
    """sums[j] += plane[top + k, j] over k < count."""
    W = sums.size
    for j in range(W):
        total = plane[top * W + j]
        for k in range(1, count):
            total += plane[(top + k) * W + j]
        sums[j] += total


@njit(inline=True)
def _sum_down(plane, top, bottom, sums):
    """sums[j] = the sum of plane[i, j] over top <= i < bottom."""
    sums[:] = 0
    for i in range(top, bottom - 3, 4):
        _add_rows(plane, i, FOUR, sums)
    left = (bottom - top) % 4
    if left == 3:
        _add_rows(plane, bottom - 3, THREE, sums)
    elif left == 2:
        _add_rows(plane, bottom - 2, TWO, sums)
    elif left == 1:
        _add_rows(plane, bottom - 1, ONE, sums)


@njit(inline=True)
def _mean_across(sums, y, tall, wide, count, stride):
    """y[o] = the sum of sums[o stride + k] over k < count, divided."""
    for o in range(y.size):
        at = np.uint64(o) * np.uint64(stride)
        total = sums[at]
        for k in range(1, count):
            total += sums[at + np.uint64(k)]
        y[o] = total / (tall * wide[o])


@njit(fastmath=SUM, inline=True)
def _sum(x):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@njit
def _avg_planes(x, y, sums, rows, columns, factors, regular):
    full_vectors()
    P, H, W = x.shape
    OH, OW = y.shape[1:]
    (tall, wide), (count, stride, padding) = factors, regular
    sums[:] = 0
    inside = sums[padding : padding + W]
    across = OW == 1 and columns[0, 0] <= padding and columns[1, 0] >= padding + W  # one window from edge to edge
    for p in range(P):
        plane = x[p].reshape(H * W)
        for oy in range(OH):
            top, bottom, out = rows[0, oy], rows[1, oy], y[p, oy]
            if across:
                out[0] = _sum(plane[top * W : bottom * W]) / (tall[oy] * wide[0])
                continue
            _sum_down(plane, top, bottom, inside)
            if count == 2 and stride == 2:
                _mean_across(sums, out, tall[oy], wide, TWO, TWO)
            elif count == 3 and stride == 2:
                _mean_across(sums, out, tall[oy], wide, THREE, TWO)
            else:
                for o in range(OW):
                    out[o] = _sum(sums[columns[0, o] : columns[1, o]]) / (tall[oy] * wide[o])


@njit
def _avg_pool2d(x, y, sums, rows, columns, factors, regular):
    """`sums`: for each share of the planes one row of the image with padding."""
    P, shares = x.shape[0], sums.shape[0]
    for share in prange(shares):
        a, b = share * P // shares, (share + 1) * P // shares
        _avg_planes(x[a:b], y[a:b], sums[share], rows, columns, factors, regular)


_avg_pool2d_parallel = parallel_form(_avg_pool2d)


@njit(inline=True)
def _spread(g, sums, tall, wide, columns, regular):
    """sums[j] = the sum of g[o], divided, over the windows o that hold column j."""
    count, stride, _ = regular
    if count == 2 and stride == 2:
        for o in range(g.size):
            at = np.uint64(2) * np.uint64(o)
            sums[at] = sums[at + np.uint64(1)] = g[o] / (tall * wide[o])
    else:
        sums[:] = 0
        for o in range(g.size):
            part = g[o] / (tall * wide[o])
            for j in range(columns[0, o], columns[1, o]):
                sums[j] += part


@njit
def _avg_planes_grad(g, gx, sums, rows, columns, factors, regular):
    full_vectors()
    P, H, W = gx.shape
    (tall, wide), padding = factors, regular[2]
    sums[:] = 0
    inside = sums[padding : padding + W]
    for p in range(P):
        done = 0  # rows that have been written
        for oy in range(g.shape[1]):
            top, bottom = rows[0, oy], rows[1, oy]
            _spread(g[p, oy], sums, tall[oy], wide, columns, regular)
            for i in range(done, top):
                gx[p, i] = 0
            for i in range(top, min(done, bottom)):
                row = gx[p, i]
                for j in range(W):
                    row[j] += inside[j]
            for i in range(max(done, top), bottom):
                row = gx[p, i]
                for j in range(W):
                    row[j] = inside[j]
            done = max(done, bottom)
        for i in range(done, H):
            gx[p, i] = 0


@njit
def _avg_pool2d_grad(g, gx, sums, rows, columns, factors, regular):
    P, shares = g.shape[0], sums.shape[0]
    for share in prange(shares):
        a, b = share * P // shares, (share + 1) * P // shares
        _avg_planes_grad(g[a:b], gx[a:b], sums[share], rows, columns, factors, regular)


_avg_pool2d_grad_parallel = parallel_form(_avg_pool2d_grad)

# rows, columns, (tall, wide), (width of a window, stride, left padding), length of the row of sums
Windows = tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], tuple[int, int, int], int]


@lru_cache(256)
def _at_stride(
    size: Pair, out: Pair, kernel: Pair, stride: Pair, padding: Pair, include_pad: bool, divisor: int, dtype: np.dtype
) -> Windows:  # fmt: skip
    """Windows of avg_pool2d, divided by `divisor` unless 0, by their size with padding, or by their pixels only."""
    bounds, factors = [], []
    for n, o, k, s, pad in zip(size, out, kernel, stride, padding, strict=True):
        start = np.arange(o) * s - pad
        stop = np.minimum(start + k, n + pad)  # ceil_mode: what lies behind the padding never counts
        first, last = np.maximum(start, 0), np.minimum(stop, n)
        bounds.append(np.stack([first, np.maximum(first, last)]))
        factors.append((stop - start if include_pad else last - first).astype(dtype))
    if divisor:
        factors = [np.full(out[0], divisor, dtype), np.ones(out[1], dtype)]
    width = max(padding[1] + size[1], (out[1] - 1) * stride[1] + kernel[1])
    return bounds[0], bounds[1] + padding[1], (factors[0], factors[1]), (kernel[1], stride[1], padding[1]), width


@lru_cache(256)
def _covering(size: Pair, out: Pair, dtype: np.dtype) -> Windows:
    """Window o of a dim: from floor(o size / out) to before ceil((o + 1) size / out)."""
    rows, columns = [np.stack([np.arange(o) * n // o, -(np.arange(1, o + 1) * n // -o)]) for n, o in zip(size, out, strict=True)]
    return rows, columns, ((rows[1] - rows[0]).astype(dtype), (columns[1] - columns[0]).astype(dtype)), (0, 0, 0), size[1]


def _average(x: np.ndarray, out: Pair, windows: Windows, work: int) -> np.ndarray:
    *tables, width = windows
    y = np.empty((*x.shape[:2], *out), x.dtype)
    shares = _shares(work, x.shape[0] * x.shape[1])
    run = _avg_pool2d_parallel if shares > 1 else _avg_pool2d
    run(_planes(x), _planes(y), np.empty((shares, width), x.dtype), *tables)
    return y


def _average_grad(g: np.ndarray, x_shape: tuple[int, ...], windows: Windows, work: int) -> np.ndarray:
    *tables, width = windows
    gx = np.empty(x_shape, g.dtype)
    shares = _shares(work, x_shape[0] * x_shape[1])
    run = _avg_pool2d_grad_parallel if shares > 1 else _avg_pool2d_grad
    run(_planes(g), _planes(gx), np.empty((shares, width), g.dtype), *tables)
    return gx


def avg_pool2d(
    x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool, divisor: int
) -> np.ndarray:
    """y[n, c, oy, ox] = sum_{ky, kx} x[n, c, oy*SH - PH + ky, ox*SW - PW + kx] / divisor (0: the size of the window)."""
    N, C, H, W = x.shape
    OH = pool_size(H, kernel_size[0], stride[0], padding[0], 1, ceil_mode)
    OW = pool_size(W, kernel_size[1], stride[1], padding[1], 1, ceil_mode)
    windows = _at_stride((H, W), (OH, OW), kernel_size, stride, padding, count_include_pad, divisor, x.dtype)
    return _average(x, (OH, OW), windows, N * C * OH * OW * kernel_size[0] * kernel_size[1])


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
    windows = _at_stride(x_shape[2:], g.shape[2:], kernel_size, stride, padding, count_include_pad, divisor, g.dtype)
    return _average_grad(g, x_shape, windows, g.size * kernel_size[0] * kernel_size[1])


def adaptive_avg_pool2d(x: np.ndarray, output_size: Pair) -> np.ndarray:
    """y[n, c, oy, ox] = mean of x[n, c, i, j] over oy H / OH <= i < (oy + 1) H / OH and the like for j, bounds rounded outwards."""
    return _average(x, output_size, _covering(x.shape[2:], output_size, x.dtype), x.size)


def adaptive_avg_pool2d_grad(g: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
    """gx[n, c, i, j] = sum of g[n, c, oy, ox] / size of the window over the windows that hold i, j."""
    return _average_grad(g, x_shape, _covering(x_shape[2:], g.shape[2:], g.dtype), g.size and x_shape[2] * x_shape[3] * g.shape[0] * g.shape[1])
