"""Pooling over windows of the planes of (N, C, H, W). Windows are cut off at the edge of the image, which equals padding.

A row of windows is made in two passes: down the columns of the image, which lie side by side in memory, into one row of maxima or
sums (see simd_pool.py); then across that row. Several rows go down before one pass across takes them all, where they lie so that
their windows are one sequence at a stride. For windows of 2 or 3 with stride 2 LLVM knows the sizes and makes vector code of it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from jitgrad.kernels.cpu.base_tools import pick
from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import SUM, njit, parallel_form, pays, prange
from jitgrad.kernels.simd import full_vectors
from jitgrad.kernels.simd_pool import max_down, put_down, sum_down
from jitgrad.shapes import pool_size

SHARES = 32  # pieces of the planes that threads take
BLOCK = 2048  # columns of the rows that go down before a pass across
# As literals they would have types of their own, and what is called with them a form for each.
ONE, TWO, THREE = np.int64(1), np.int64(2), np.int64(3)

Pair = tuple[int, int]


def _planes(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) as contiguous (N*C, H, W)."""
    N, C, H, W = x.shape
    return contiguous(x).reshape((N * C, H, W))


def _buffer(work: int, planes: int, rows: int, width: int, dtype: np.dtype | type) -> np.ndarray:
    """For each share of the planes (one share where threads do not pay) so many rows, but at most a block, of so many columns."""
    shares = max(1, min(planes, SHARES)) if pays(work) else 1
    return np.empty((shares, max(1, min(rows, BLOCK // max(1, width))), width), dtype)


# ---- maximum ---------------------------------------------------------------------------------------------------------


@njit(inline=True)
def _max_across(best, where, y, indices, count, stride, step):
    """y[o] = the maximum of best[o stride + k step] over k < count, indices[o] = where it is.

    The greatest wins, NaN over numbers; among equals, padding too, the one that comes first in the image.
    """
    for o in range(y.size):
        at = np.uint64(o) * np.uint64(stride)
        b, i = best[at], where[at]
        for k in range(1, count):
            there = at + np.uint64(k) * np.uint64(step)
            v, j = best[there], where[there]
            equal = (v == b) | ((v != v) & (b != b))
            takes = (v > b) | ((v != v) & (b == b)) | (equal & (j < i))
            b, i = pick(takes, v, b), pick(takes, j, i)
        y[o], indices[o] = b, i


@njit
def _max_planes(x, y, indices, best, where, planes, sizes, kernel, stride, padding, dilation):
    """The windows of planes[0] to planes[1]; arrays flat, but for `best` and `where`: rows of the image between their padding."""
    full_vectors()
    (H, W, OH, OW), (KH, KW), (SH, SW), (PH, PW), (DH, DW) = sizes, kernel, stride, padding, dilation
    rows, pitch = best.shape
    best[:], where[:] = -np.inf, H * W  # padding never wins
    best, where = best.reshape(rows * pitch), where.reshape(rows * pitch)
    last = planes[1] * OH
    for row in range(planes[0] * OH, last, rows):
        n = min(rows, last - row)
        for k in range(n):
            p, oy = divmod(row + k, OH)
            top = oy * SH - PH
            above = max(0, (DH - 1 - top) // DH)  # rows of the window above the image
            top += above * DH
            count = min(KH - above, (H - top + DH - 1) // DH)
            max_down(best, where, k * pitch + PW, x, (p * H + top) * W, count, DH * W, W, top * W, DH * W)
        together = n if pitch == OW * SW else 1
        for k in range(0, n, together):
            from_row, to = k * pitch, (row + k) * OW
            b, i = best[from_row : from_row + together * pitch], where[from_row : from_row + together * pitch]
            out, out_indices = y[to : to + together * OW], indices[to : to + together * OW]
            if KW == 2 and SW == 2 and DW == 1:
                _max_across(b, i, out, out_indices, TWO, TWO, ONE)
            elif KW == 3 and SW == 2 and DW == 1:
                _max_across(b, i, out, out_indices, THREE, TWO, ONE)
            else:
                _max_across(b, i, out, out_indices, KW, SW, DW)


@njit
def _max_pool2d(x, y, indices, best, where, kernel, stride, padding, dilation):
    """`best` and `where`: for each share of the planes some rows of the image with padding."""
    P, shares = x.shape[0], best.shape[0]
    sizes = (x.shape[1], x.shape[2], y.shape[1], y.shape[2])
    x, y, indices = x.reshape(x.size), y.reshape(y.size), indices.reshape(indices.size)
    for share in prange(shares):
        planes = share * P // shares, (share + 1) * P // shares
        _max_planes(x, y, indices, best[share], where[share], planes, sizes, kernel, stride, padding, dilation)


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
    stride = _strides(stride, (H, W), (OH, OW), padding)
    width = _pitch(max(padding[1] + W, (OW - 1) * stride[1] + (kernel_size[1] - 1) * dilation[1] + 1), stride[1])
    best = _buffer(y.size * kernel_size[0] * kernel_size[1], N * C, N * C * OH, width, x.dtype)
    where = np.empty(best.shape, np.int32 if H * W < 2**31 else np.int64)
    run = _max_pool2d_parallel if len(best) > 1 else _max_pool2d
    run(_planes(x), _planes(y), _planes(indices), best, where, kernel_size, stride, padding, dilation)
    return y, indices


def _strides(stride: Pair, size: Pair, out: Pair, padding: Pair) -> Pair:
    """The strides; where there is one window, whose stride may be anything, no more than the image with its left padding."""
    a, b = (s if o > 1 else max(1, min(s, n + pad)) for s, n, o, pad in zip(stride, size, out, padding, strict=True))
    return a, b


def _pitch(width: int, stride: int) -> int:
    """The least multiple of the stride that is not below width."""
    return -(width // -stride) * stride


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
# cover the image. Columns count from the left padding, which a row of sums holds as zeros. `regular` is the width of a window, the
# stride (both 0 where they differ from window to window), the left padding, and whether rows follow one another as windows do.


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
def _avg_planes(x, y, sums, planes, sizes, rows, columns, factors, regular):
    """The windows of planes[0] to planes[1]; x and y flat."""
    full_vectors()
    (H, W, OH, OW), (tall, wide), (count, stride, padding, follow) = sizes, factors, regular
    most, pitch = sums.shape
    sums[:] = 0
    sums = sums.reshape(most * pitch)
    last = planes[1] * OH
    for row in range(planes[0] * OH, last, most):
        n = min(most, last - row)
        for k in range(n):
            p, oy = divmod(row + k, OH)
            sum_down(sums, k * pitch + padding, x, (p * H + rows[0, oy]) * W, rows[1, oy] - rows[0, oy], W, W)
        together = n if follow else 1
        for k in range(0, n, together):
            from_row, to, h = k * pitch, (row + k) * OW, tall[(row + k) % OH]
            s, out = sums[from_row : from_row + together * pitch], y[to : to + together * OW]
            if count == 2 and stride == 2:
                _mean_across(s, out, h, wide, TWO, TWO)
            elif count == 3 and stride == 2:
                _mean_across(s, out, h, wide, THREE, TWO)
            elif count:
                _mean_across(s, out, h, wide, count, stride)
            else:
                for o in range(OW):
                    out[o] = _sum(s[columns[0, o] : columns[1, o]]) / (h * wide[o])


@njit(inline=True)
def _is_whole(x, y, rows, columns):
    """Whether one window covers the image."""
    (_, H, W), (_, OH, OW) = x.shape, y.shape
    return OH == 1 and OW == 1 and rows[1, 0] - rows[0, 0] == H and columns[1, 0] - columns[0, 0] == W


@njit
def _mean_planes(x, y, divisor):
    """y[p] = the sum of row p of x, divided."""
    full_vectors()
    for p in range(y.size):
        y[p] = _sum(x[p]) / divisor


@njit
def _avg_pool2d(x, y, sums, rows, columns, factors, regular):
    """`sums`: for each share of the planes some rows of the image with padding."""
    (P, H, W), (_, OH, OW), shares = x.shape, y.shape, sums.shape[0]
    whole = _is_whole(x, y, rows, columns)
    flat_x, flat_y, by_plane = x.reshape(x.size), y.reshape(y.size), x.reshape((P, H * W))
    for share in prange(shares):
        a, b = share * P // shares, (share + 1) * P // shares
        if whole:
            _mean_planes(by_plane[a:b], flat_y[a:b], factors[0][0] * factors[1][0])
        else:
            _avg_planes(flat_x, flat_y, sums[share], (a, b), (H, W, OH, OW), rows, columns, factors, regular)


_avg_pool2d_parallel = parallel_form(_avg_pool2d)


@njit(inline=True)
def _spread(g, sums, tall, wide, columns, regular):
    """sums[j] = the sum of g[o], divided, over the windows o that hold column j."""
    if regular[0] == 2 and regular[1] == 2:
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
def _avg_planes_grad(g, gx, sums, planes, sizes, rows, columns, factors, regular):
    full_vectors()
    (H, W, OH, OW), (tall, wide), padding = sizes, factors, regular[2]
    sums[:] = 0
    for p in range(planes[0], planes[1]):
        done = 0  # rows that have been written
        for oy in range(OH):
            top, bottom, to = rows[0, oy], rows[1, oy], (p * OH + oy) * OW
            _spread(g[to : to + OW], sums, tall[oy], wide, columns, regular)
            if top > done:
                gx[(p * H + done) * W : (p * H + top) * W] = 0
            again = max(0, min(done, bottom) - top)
            put_down(gx, (p * H + top) * W, sums, padding, again, W, W, True)
            put_down(gx, (p * H + top + again) * W, sums, padding, bottom - top - again, W, W, False)
            done = max(done, bottom)
        gx[(p * H + done) * W : (p + 1) * H * W] = 0


@njit
def _fill_planes(g, gx, divisor):
    """Row p of gx = g[p], divided: the gradient of _mean_planes."""
    full_vectors()
    for p in range(g.size):
        row, part = gx[p], g[p] / divisor
        for j in range(row.size):
            row[j] = part


@njit
def _avg_pool2d_grad(g, gx, sums, rows, columns, factors, regular):
    (P, OH, OW), (_, H, W), shares = g.shape, gx.shape, sums.shape[0]
    whole = _is_whole(gx, g, rows, columns)
    flat_g, flat_gx, by_plane = g.reshape(g.size), gx.reshape(gx.size), gx.reshape((P, H * W))
    for share in prange(shares):
        a, b = share * P // shares, (share + 1) * P // shares
        if whole:
            _fill_planes(flat_g[a:b], by_plane[a:b], factors[0][0] * factors[1][0])
        else:
            _avg_planes_grad(flat_g, flat_gx, sums[share, 0], (a, b), (H, W, OH, OW), rows, columns, factors, regular)


_avg_pool2d_grad_parallel = parallel_form(_avg_pool2d_grad)

# rows, columns, (tall, wide), regular, length of a row of sums
Windows = tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], tuple[int, int, int, int], int]


def _windows(size: Pair, bounds: list[np.ndarray], factors: list[np.ndarray], regular: tuple[int, int, int], dtype: np.dtype) -> Windows:
    """The tables; `wide` is repeated for as many rows as may be taken together."""
    (count, stride, padding), OW = regular, len(factors[1])
    width = _pitch(max(padding + size[1], (OW - 1) * stride + count), stride or 1)
    follow = int(OW > 0 and stride * OW == width and bool((factors[0] == factors[0][:1]).all()))
    tall, wide = factors[0].astype(dtype), np.tile(factors[1], max(1, BLOCK // width) if follow else 1).astype(dtype)
    return bounds[0], bounds[1] + padding, (tall, wide), (count, stride, padding, follow), width


@lru_cache(256)
def _at_stride(
    size: Pair, out: Pair, kernel: Pair, stride: Pair, padding: Pair, include_pad: bool, divisor: int, dtype: np.dtype
) -> Windows:  # fmt: skip
    """Windows of avg_pool2d, divided by `divisor` unless 0, by their size with padding, or by their pixels only."""
    bounds, factors, stride = [], [], _strides(stride, size, out, padding)
    for n, o, k, s, pad in zip(size, out, kernel, stride, padding, strict=True):
        start = np.arange(o) * s - pad
        stop = np.minimum(start + k, n + pad)  # ceil_mode: what lies behind the padding never counts
        first, last = np.maximum(start, 0), np.minimum(stop, n)
        bounds.append(np.stack([first, np.maximum(first, last)]))
        factors.append(stop - start if include_pad else last - first)
    if divisor:
        factors = [np.full(out[0], divisor), np.ones(out[1], int)]
    return _windows(size, bounds, factors, (kernel[1], stride[1], padding[1]), dtype)


@lru_cache(256)
def _covering(size: Pair, out: Pair, dtype: np.dtype) -> Windows:
    """Window o of a dim: from floor(o size / out) to before ceil((o + 1) size / out)."""
    bounds = [np.stack([np.arange(o) * n // max(1, o), -(np.arange(1, o + 1) * n // -max(1, o))]) for n, o in zip(size, out, strict=True)]
    even = size[1] // out[1] if out[1] and size[1] % out[1] == 0 else 0
    return _windows(size, bounds, [b[1] - b[0] for b in bounds], (even, even, 0), dtype)


def _average(x: np.ndarray, out: Pair, windows: Windows, work: int) -> np.ndarray:
    *tables, width = windows
    N, C = x.shape[:2]
    y = np.empty((N, C, *out), x.dtype)
    sums = _buffer(work, N * C, N * C * out[0], width, x.dtype)
    (_avg_pool2d_parallel if len(sums) > 1 else _avg_pool2d)(_planes(x), _planes(y), sums, *tables)
    return y


def _average_grad(g: np.ndarray, x_shape: tuple[int, ...], windows: Windows, work: int) -> np.ndarray:
    *tables, width = windows
    gx = np.empty(x_shape, g.dtype)
    sums = _buffer(work, x_shape[0] * x_shape[1], 1, width, g.dtype)
    (_avg_pool2d_grad_parallel if len(sums) > 1 else _avg_pool2d_grad)(_planes(g), _planes(gx), sums, *tables)
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
    return _average_grad(g, x_shape, _covering(x_shape[2:], g.shape[2:], g.dtype), g.shape[0] * g.shape[1] * x_shape[2] * x_shape[3])
