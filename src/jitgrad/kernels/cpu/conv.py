"""Convolution as products with shifted rows: no im2col.

The padded images are split into SH*SW phases, phase (a, b) holding the pixels (SH*r + a, SW*q + b). In it a filter tap
(ky, kx) is a constant shift: output (oy, ox) reads row oy + ky*DH//SH, column ox + kx*DW//SW. So with the rows of a plane, and
the planes of all images, one behind the other, a tap is one offset into a long row, and all three products are made of the
tiles of simd.py: y[f, j] = sum_t w[f, t] x[offset(t) + j]. Positions j that are no pixel of the output mean nothing: they are
dropped on store, or hold zeros where they are read.

Where the stride is 1, the padding on the right of a row is the padding on the left of the next. Images are taken in waves whose
planes stay in the cache.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from jitgrad.kernels.cpu.conv_planes import fill, fill_outputs, offsets, turn
from jitgrad.kernels.cpu.conv_tiles import CHUNK, flip, pack, products
from jitgrad.kernels.cpu.layout import contiguous, or_nothing
from jitgrad.kernels.cpu.matmul import matmul
from jitgrad.kernels.jit import njit, parallel_form, pays, prange, workspace
from jitgrad.kernels.simd_code import VECTOR_BYTES
from jitgrad.kernels.simd_conv import TAP_DOT_COLUMNS, TAP_DOT_ROWS, TAP_ROWS, TAP_VECTORS, low_tile, tap_dots
from jitgrad.shapes import conv_size

TURNED_MIN = 24  # numbers in a row of turned planes from which they fill a tile
BLOCK = 1024  # positions at a time in dot products, whose totals are float64
WAVE = 1 << 20  # bytes of planes at a time
MIN_WORK = 1 << 17  # products from which threads pay
SHARES = 64  # pieces that threads take
# As literals they would have types of their own, and what is called with them a form for each.
ZERO, ONE = np.int64(0), np.int64(1)

Pair = tuple[int, int]
# (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups, phases in use (A, B), plane of an image (HP, WP)
Geometry = tuple[tuple[int, ...], ...]


@lru_cache(1024)
def _geometry(x_shape: tuple, w_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Geometry:
    F, _, KH, KW = w_shape
    out = tuple([conv_size(x_shape[i + 2], w_shape[i + 2], stride[i], padding[i], dilation[i]) for i in (0, 1)])
    plane = tuple([_pitch(x_shape[i + 2], w_shape[i + 2], out[i], stride[i], padding[i], dilation[i]) for i in (0, 1)])
    phases = (stride[0] if KH > 1 else 1, stride[1] if KW > 1 else 1)
    return x_shape, (F, KH, KW), out, stride, padding, dilation, (groups, *phases), plane


def _pitch(size: int, kernel: int, out: int, stride: int, padding: int, dilation: int) -> int:
    """Rows (or columns) of a plane."""
    if stride == 1 and out <= size + padding:
        return size + padding
    return out + (kernel - 1) * dilation // stride


def _wave(geometry: Geometry, channels: int, itemsize: int) -> int:
    """Images whose planes are in use at a time."""
    plane = geometry[-1]
    return max(1, min(geometry[0][0], WAVE // max(1, channels * plane[0] * plane[1] * itemsize)))


@njit
def _conv2d(x, w, bias, y, planes, packed, table, sums, geometry, images):
    """`sums`: one row per share of the work, for the chunk in hand. Without `planes` images are read where they lie, one at a time."""
    (N, C, H, W), (F, _, _), (OH, OW), stride, padding, _, (groups, A, B), (HP, WP) = geometry
    offsets(table, images, geometry)
    pack(w, packed, groups)
    parts = (groups, F // groups, (C // groups) * A * B * images * HP * WP)
    window = ((ZERO, OH, ZERO, OW), (ONE, ONE, ZERO, ZERO))
    flat = x.reshape(x.size)
    planes[min(planes.size, C * A * B * images * HP * WP) :] = 0
    for image in range(0, N, images):
        here = min(images, N - image)
        if planes.size:
            fill(x, planes, ZERO, ((image, here, images), (A, B)), ((C, H, W), stride, padding), (HP, WP))
        lead = ZERO if planes.size else image * C * H * W
        count = ((image, here, lead), (ZERO, table.size, table.size), parts, window)
        products(planes if planes.size else flat, table, packed, bias, y, sums, count, ((F, OH, OW), (HP, WP)))


_conv2d_parallel = parallel_form(_conv2d)


@njit
def _conv2d_grad_x(g, w, gx, planes, packed, table, sums, geometry, images):
    """gx is zero before. Phase (a, b) of gx adds up the taps that reach it; `table` ends with the phases' starts.

    Without `planes` images are read where they lie, one at a time.
    """
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), _, (groups, A, B), (HP, WP) = geometry
    places = F // groups * KH * KW
    offsets, starts = table[:places], table[places:]
    lead = max(0, planes.size - F * images * HP * WP)  # zeros, which the first rows reach back into
    flip(w, packed, offsets, starts, images, geometry)
    planes[:lead] = 0
    none, flat = packed[:0], g.reshape(g.size)
    parts = (groups, C // groups, F // groups * images * HP * WP)
    for image in range(0, N, images):
        here = min(images, N - image)
        if planes.size:
            fill_outputs(g, planes, lead, (image, here, images), geometry)
        for phase in range(A * B):
            a, b = divmod(phase, B)
            top, left = max(0, (PH - a + SH - 1) // SH), max(0, (PW - b + SW - 1) // SW)
            bottom, right = min(HP, (H + PH - a + SH - 1) // SH), min(WP, (W + PW - b + SW - 1) // SW)
            if top < bottom and left < right:
                count = (
                    (image, here, lead if planes.size else image * F * OH * OW),
                    (starts[phase], starts[phase + 1], places), parts, ((top, bottom, left, right), (SH, SW, a - PH, b - PW)),
                )  # fmt: skip
                products(planes if planes.size else flat, offsets, packed, none, gx, sums, count, ((C, H, W), (HP, WP)))


_conv2d_grad_x_parallel = parallel_form(_conv2d_grad_x)


@njit
def _conv2d_grad_w_turned(g, x, gw, outputs, planes, turned, sums, geometry, images):
    """Where stride and dilation are 1: for each ky, all (kx, c) are one row of the turned planes. `sums` is gw as (f, ky, kx, c).

    It is zero before: without images nothing is written to it.
    """
    (N, C, H, W), (F, KH, KW), _, stride, padding, _, (groups, _, _), (HP, WP) = geometry
    filters, channels = F // groups, C // groups
    size = images * HP * WP
    width = TAP_VECTORS * VECTOR_BYTES // planes.itemsize
    line = KW * channels
    planes[C * size :] = 0
    turned[C * size :] = 0
    blocks, pieces = (filters + TAP_ROWS - 1) // TAP_ROWS, (line + width - 1) // width
    for image in range(0, N, images):
        here = min(images, N - image)
        fill_outputs(g, outputs, ZERO, (image, here, images), geometry)
        fill(x, planes, ZERO, ((image, here, images), (ONE, ONE)), ((C, H, W), stride, padding), (HP, WP))
        for group in range(groups):
            turn(planes[group * channels * size :], turned[group * channels * size :], channels, size)
        run = here * HP * WP
        for task in prange(groups * blocks * pieces):
            rest, piece = divmod(np.int64(task), pieces)
            group, block = divmod(rest, blocks)
            first = group * filters + block * TAP_ROWS
            rows = min(TAP_ROWS, filters - block * TAP_ROWS)
            columns = min(width, line - piece * width)
            for start in range(0, run, BLOCK):
                length = min(BLOCK, run - start)
                for ky in range(KH):
                    at = (group * size + start + ky * WP) * channels + piece * width
                    low_tile(
                        sums, (first * KH + ky) * line + piece * width, KH * line, rows, columns, image + start > 0,
                        outputs, first * size + start, size, turned, at, channels, length,
                    )  # fmt: skip
    result = gw.reshape(gw.size)
    for f in range(F):
        for ky in range(KH):
            for kx in range(KW):
                for c in range(channels):
                    result[((f * channels + c) * KH + ky) * KW + kx] = sums[((f * KH + ky) * KW + kx) * channels + c]


_conv2d_grad_w_turned_parallel = parallel_form(_conv2d_grad_w_turned)


@njit
def _conv2d_grad_w(g, x, gw, outputs, planes, table, totals, geometry, images):
    """Dot products of long rows: blocks in the dtype of x, `totals` in float64."""
    (N, C, H, W), (F, _, _), _, stride, padding, _, (groups, A, B), (HP, WP) = geometry
    filters, places = F // groups, table.size
    offsets(table, images, geometry)
    planes[C * A * B * images * HP * WP :] = 0
    totals[:] = 0.0
    blocks = (filters + TAP_DOT_ROWS - 1) // TAP_DOT_ROWS
    pieces = 1 if groups * blocks >= SHARES else min(SHARES // (groups * blocks), (places + TAP_DOT_COLUMNS - 1) // TAP_DOT_COLUMNS)
    share = ((places + pieces - 1) // pieces + TAP_DOT_COLUMNS - 1) // TAP_DOT_COLUMNS * TAP_DOT_COLUMNS
    pitch = (C // groups) * A * B * images * HP * WP
    for image in range(0, N, images):
        here = min(images, N - image)
        fill_outputs(g, outputs, ZERO, (image, here, images), geometry)
        fill(x, planes, ZERO, ((image, here, images), (A, B)), ((C, H, W), stride, padding), (HP, WP))
        run = here * HP * WP
        for task in prange(groups * blocks * pieces):
            rest, piece = divmod(np.int64(task), pieces)
            group, block = divmod(rest, blocks)
            first = group * filters + block * TAP_DOT_ROWS
            rows = min(TAP_DOT_ROWS, filters - block * TAP_DOT_ROWS)
            sums = np.empty(2 * TAP_DOT_ROWS * TAP_DOT_COLUMNS, x.dtype)
            for start in range(0, run, BLOCK):
                size = min(BLOCK, run - start)
                row, at = first * images * HP * WP + start, group * pitch + start
                for t in range(piece * share, min((piece + 1) * share, places), TAP_DOT_COLUMNS):
                    columns = min(TAP_DOT_COLUMNS, places - t)
                    tap_dots(sums, rows, outputs, row, images * HP * WP, planes, at, table, t, columns, size)
                    for i in range(rows):
                        for j in range(columns):
                            totals[(first + i) * places + t + j] += sums[i * TAP_DOT_COLUMNS + j]
    result = gw.reshape(gw.size)
    for i in range(gw.size):
        result[i] = totals[i]


_conv2d_grad_w_parallel = parallel_form(_conv2d_grad_w)


def _slack(geometry: Geometry) -> int:
    """Elements behind (or before) all planes that a tap may reach."""
    (_, KH, KW), stride, dilation, (_, WP) = geometry[1], geometry[3], geometry[5], geometry[7]
    return (KH - 1) * dilation[0] // stride[0] * WP + (KW - 1) * dilation[1] // stride[1] + 1 + 4 * WP


def _split(dtype: np.dtype, *sizes: int) -> list[np.ndarray]:
    """Arrays that share the workspace, each aligned."""
    padded = [-(-size // 16) * 16 for size in sizes]
    buffer = workspace(sum(padded), dtype)
    starts = [sum(padded[:i]) for i in range(len(padded))]
    return [buffer[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def _is_product(w_shape: tuple, stride: Pair, padding: Pair, groups: int) -> bool:
    """Whether each image is multiplied by one matrix: a filter of one pixel."""
    return w_shape[2:] == (1, 1) and stride == (1, 1) and padding == (0, 0) and groups == 1


def _packed(groups: int, filters: int, places: int) -> int:
    """Elements of weights in blocks of TAP_ROWS."""
    return groups * -(-filters // TAP_ROWS) * TAP_ROWS * places


def _sums(parallel: bool, dtype: np.dtype) -> np.ndarray:
    return np.empty((SHARES if parallel else 1, TAP_ROWS * CHUNK), dtype)


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """y[n, f, oy, ox] = b[f] + sum_{c, ky, kx} x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] * w[f, c, ky, kx]."""
    geometry = _geometry(x.shape, w.shape, stride, padding, dilation, groups)
    (N, C, _, _), (F, KH, KW), (OH, OW), _, _, _, (_, A, B), (HP, WP) = geometry
    y = np.empty((N, F, OH, OW), x.dtype)
    places = C // groups * KH * KW
    parallel = pays(y.size * places, MIN_WORK)
    images, size = _wave(geometry, C * A * B, x.itemsize), 0
    if (stride, padding) == ((1, 1), (0, 0)):
        images = 1
    else:
        size = C * A * B * images * HP * WP + _slack(geometry)
    planes, packed = _split(x.dtype, size, _packed(groups, F // groups, places))
    run = _conv2d_parallel if parallel else _conv2d
    table = np.empty(places, np.int64)
    run(contiguous(x), contiguous(w), or_nothing(b, x.dtype), y, planes, packed, table, _sums(parallel, x.dtype), geometry, images)
    return y


def conv2d_grad_x(g: np.ndarray, w: np.ndarray, x_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """gx[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] += g[n, f, oy, ox] * w[f, c, ky, kx], over all f, ky, kx."""
    geometry = _geometry(x_shape, w.shape, stride, padding, dilation, groups)
    (_, C, _, _), (F, KH, KW), _, _, _, _, (_, A, B), (HP, WP) = geometry
    gx = np.zeros(x_shape, g.dtype)
    if not gx.size:
        return gx
    parallel = pays(g.size * (w.size // max(1, F)), MIN_WORK)
    images, size = _wave(geometry, F, g.itemsize), 0
    if (KH, KW) == stride == (1, 1) and padding == (0, 0):
        images = 1
    else:
        size = F * images * HP * WP + _slack(geometry)
    places = F // groups * KH * KW
    planes, packed = _split(g.dtype, size, _packed(groups, C // groups, places))
    table = np.empty(places + A * B + 1, np.int64)
    run = _conv2d_grad_x_parallel if parallel else _conv2d_grad_x
    run(contiguous(g), contiguous(w), gx, planes, packed, table, _sums(parallel, g.dtype), geometry, images)
    return gx


def conv2d_grad_w(g: np.ndarray, x: np.ndarray, w_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """gw[f, c, ky, kx] = sum_{n, oy, ox} g[n, f, oy, ox] * x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW]."""
    geometry = _geometry(x.shape, w_shape, stride, padding, dilation, groups)
    (N, C, _, _), (F, KH, KW), _, _, _, _, (_, A, B), (HP, WP) = geometry
    if _is_product(w_shape, stride, padding, groups):
        pixels = g.shape[2] * g.shape[3]
        return matmul(contiguous(g).reshape(N, F, pixels), contiguous(x).reshape(N, C, pixels).swapaxes(1, 2)).sum(0).reshape(w_shape)
    gw = np.empty(w_shape, g.dtype)
    places = C // groups * KH * KW
    parallel = pays(g.size * places, MIN_WORK)
    images = _wave(geometry, C * A * B + F, x.itemsize)
    if stride == dilation == (1, 1) and C // groups * KW >= TURNED_MIN:
        size = images * HP * WP
        slack = _slack(geometry)
        outputs, planes, turned = _split(g.dtype, F * size, C * size + slack, C * (size + slack))
        run = _conv2d_grad_w_turned_parallel if parallel else _conv2d_grad_w_turned
        run(contiguous(g), contiguous(x), gw, outputs, planes, turned, np.zeros(gw.size, g.dtype), geometry, images)
        return gw
    outputs, planes = _split(g.dtype, F * images * HP * WP, C * A * B * images * HP * WP + _slack(geometry))
    run = _conv2d_grad_w_parallel if parallel else _conv2d_grad_w
    table, totals = np.empty(places, np.int64), np.empty(gw.size, np.float64)
    run(contiguous(g), contiguous(x), gw, outputs, planes, table, totals, geometry, images)
    return gw
