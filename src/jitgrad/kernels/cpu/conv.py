"""Convolution as products with shifted rows: no im2col of an image.

The padded images are split into SH*SW phases, phase (a, b) holding the pixels (SH*r + a, SW*q + b). In it a filter tap
(ky, kx) is a constant shift: output (oy, ox) reads row oy + ky*DH//SH, column ox + kx*DW//SW. So with the rows of a plane, and
the planes of all images, one behind the other, a tap is one offset into a long row, and the products are made of the tiles of
simd_conv.py: y[f, pixel] = sum_t w[f, t] x[offset(t) + place of the pixel], and likewise the gradient of x. The gradient of w
sums over pixels: gw[f, (tap, c)] = sum_pixel g[pixel, f] x[place of the pixel + offset(tap), c], of pixels whose channels lie
side by side.

Where the stride is 1, the padding on the right of a row is the padding on the left of the next. Images are taken in waves whose
planes stay in the cache.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from jitgrad.kernels.cpu.conv_planes import fill, offsets
from jitgrad.kernels.cpu.conv_tiles import CHUNK, FEW, ONE, ZERO, flip, pack, pack_flipped, place_vectors, products
from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import get_num_threads, njit, parallel_form, pays, prange, workspace
from jitgrad.kernels.simd_code import VECTOR_BYTES
from jitgrad.kernels.simd_conv import ROW_DOTS, ROW_VECTORS, SPOT, TAP_ROWS, TAP_VECTORS, lanes, row_dots, taps, transpose
from jitgrad.shapes import conv_size

WAVE = 1 << 21  # bytes of planes at a time
PANEL_WAVE = 1 << 23  # where panels are gathered from them
SPARE = 64  # numbers behind the planes that a vector may reach into
FAR = 64  # rows of planes that a tile reads, up to which they stay near
DEPTH = 384  # taps at a time: their weights stay in L1
PANEL_DEPTH = 256  # taps of a panel at a time, whose tiles stay in L2
STRETCH = 192  # pixels at a time in gradients of weights
MIN_WORK = 1 << 17  # products from which threads pay

Pair = tuple[int, int]
# (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups
Geometry = tuple[Any, ...]
# phases (A, B) and whether they are columns of the kernel, (HP, WP) of a plane, rows of the output in a band, images of a wave
Layout = tuple[Any, ...]


@njit
def _correlate(x, w, bias, y, planes, packed, table, spots, work, plan, layout, geometry):
    """y = bias + x correlated with w, or for gradients of x with w flipped; the planes hold the rows that a band of y reads.

    Without `planes` images are read where they lie. `plan`: taps at a time, elements of a panel or 0, shares, whether w is flipped.
    """
    (N, C, H, W), (F, _, _), (OH, OW), (SH, SW), (PH, PW), (_, DW), groups = geometry
    depth, panel, shares, flipped = plan
    (A, B, narrow), (HP, WP), band, images = layout
    places = table.size - depth
    lines, table = table[places:], table[:places]
    source, channel = ((HP * WP, WP), images * HP * WP) if planes.size else ((C * H * W, W), H * W)
    offsets(table, (channel, source[1]), (A, B, narrow), geometry)
    if flipped:
        pack_flipped(w, packed, groups)
    else:
        pack(w, packed, groups)
    _count(lines, w)
    planes[min(planes.size, C * A * B * channel) :] = 0
    data = planes if planes.size else x.reshape(x.size)
    for image in range(0, N, images):
        here = min(images, N - image)
        for top in range(0, OH, band):
            rows = min(band, OH - top)
            if planes.size:
                count = ((image, here, images), (A, B, DW if narrow else ONE))
                fill(x, planes, ZERO, count, ((C, H, W), (SH, SW), (PH - top * SH, PW)), (HP, WP))
            numbers = (
                (ZERO if planes.size else image * C * H * W + top * W, (image * F * OH + top) * OW), (ZERO, places, places, depth),
                (groups, F // groups, C // groups * A * B * channel, OH * OW), (panel, shares, planes.size > 0),
            )  # fmt: skip
            domain = (here, ONE, rows * OW) if narrow else (here, rows, OW)
            target = (F * OH * OW, domain[2], ONE)
            products(data, table, packed, bias, y.reshape(y.size), work, spots, lines, numbers, domain, source, target)


_correlate_parallel = parallel_form(_correlate)


@njit
def _count(lines, w):
    """Where the rows of a panel begin."""
    for t in range(lines.size):
        lines[t] = t * TAP_VECTORS * lanes(w)


@njit
def _conv2d_grad_x(g, w, zeros, gx, planes, packed, table, spots, work, plan, layout, geometry):
    """With strides: phase (a, b) of gx adds up the taps that reach it; `table` has room for the taps and the phases' starts.

    gx is zero before.
    """
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), _, groups = geometry
    depth, panel, shares, _ = plan
    (A, B, _), (HP, WP), _, images = layout
    places, channel = F // groups * KH * KW, images * HP * WP
    starts, table = table[places:], table[:places]
    lead = planes.size - SPARE - F * channel  # zeros, which the first rows reach back into
    flip(w, packed, table, starts, (channel, WP), geometry, (A, B))
    planes[:lead] = 0
    for image in range(0, N, images):
        here = min(images, N - image)
        fill(g, planes, lead, ((image, here, images), (ONE, ONE, ONE)), ((F, OH, OW), (ONE, ONE), (ZERO, ZERO)), (HP, WP))
        for phase in range(A * B):
            a, b = divmod(phase, B)
            top, left = max(0, (PH - a + SH - 1) // SH), max(0, (PW - b + SW - 1) // SW)
            bottom, right = min(HP, (H + PH - a + SH - 1) // SH), min(WP, (W + PW - b + SW - 1) // SW)
            if top < bottom and left < right:
                numbers = (
                    (lead + top * WP + left, image * C * H * W + (top * SH + a - PH) * W + left * SW + b - PW),
                    (starts[phase], starts[phase + 1], places, depth), (groups, C // groups, F // groups * channel, H * W), (panel, shares, True),
                )  # fmt: skip
                domain, target = (here, bottom - top, right - left), (C * H * W, SH * W, SW)
                products(planes, table, packed, zeros, gx.reshape(gx.size), work, spots, table, numbers, domain, (HP * WP, WP), target)


_conv2d_grad_x_parallel = parallel_form(_conv2d_grad_x)


@njit
def _turn(x, turned, place, plane, geometry):
    """turned[n, r, q, c] = padded x[image + n, c, top*SH + r, q], where the padding of columns is zero before; `place`: image, here, top."""
    (_, C, H, W), _, _, (SH, _), (PH, PW), _, _ = geometry
    (image, here, top), (HP, WP) = place, plane
    flat, few = x.reshape(x.size), lanes(x)
    columns = min(W, WP - PW)
    for task in prange(here * HP):
        n, r = divmod(np.int64(task), HP)
        to, y = np.int64(task) * WP * C, top * SH + r - PH
        if 0 <= y < H:
            at = ((image + n) * C * H + y) * W
            for c in range(0, C, few):
                for q in range(0, columns, few):
                    here_to = to + (PW + q) * C + c
                    transpose(turned, here_to, C, flat, at + c * H * W + q, H * W, min(few, C - c), min(few, columns - q))
        else:
            for i in range(np.uint64(to), np.uint64(to + WP * C)):
                turned[i] = 0


@njit
def _pack_outputs(g, packed, place, size, geometry):
    """packed[group, block, n, pixel, i] = g[image + n, block*TAP_ROWS + i of the group, first + pixel]; `place`: image, here, first, pixels.

    `size`: numbers of a block.
    """
    _, (F, _, _), (OH, OW), _, _, _, groups = geometry
    image, here, first, pixels = place
    filters, few = F // groups, lanes(g)
    blocks = (filters + TAP_ROWS - 1) // TAP_ROWS
    flat = g.reshape(g.size)
    for task in prange(groups * blocks * here):
        rest, n = divmod(np.int64(task), here)
        group, block = divmod(rest, blocks)
        to, at = rest * size + n * pixels * TAP_ROWS, ((image + n) * F + group * filters + block * TAP_ROWS) * OH * OW + first
        rows = min(TAP_ROWS, filters - block * TAP_ROWS)
        for p in range(0, pixels, few):
            transpose(packed, to + p * TAP_ROWS, TAP_ROWS, flat, at + p, OH * OW, rows, min(few, pixels - p))


@njit
def _place_taps(spots, table, band, plane, few, geometry):
    """The vectors of weights, ordered (ky, kx, c), and where they read the turned planes; table: where the pixels are in those."""
    (_, C, _, _), (_, KH, KW), (_, OW), (SH, SW), _, (DH, DW), groups = geometry
    HP, WP = plane
    for p in range(table.size):
        line, ox = divmod(p, OW)
        n, oy = divmod(line, band)
        table[p] = ((n * HP + oy * SH) * WP + ox * SW) * C
    together = groups == 1 and DW == 1  # the taps of a row of the kernel lie side by side
    size, parts = (KW * C, 1) if together else (C // groups, KW)
    count = 0
    for line in range(KH * parts):
        ky, kx = divmod(line, parts)
        for c in range(0, size, few):
            spots[count * SPOT] = (ky * DH * WP + kx * DW) * C + c
            spots[count * SPOT + 1] = line * size + c
            spots[count * SPOT + 2] = min(few, size - c)
            count += 1
    spots[count * SPOT :] = 0
    return count


@njit
def _conv2d_grad_w(g, x, zeros, gw, turned, packed, table, spots, sums, plan, plane, geometry):
    """`plane` is the size of the padded images, or of a band of so many rows of g; `sums` is gw as (f, ky, kx, c)."""
    (N, C, _, _), (F, KH, KW), (OH, OW), _, _, _, groups = geometry
    images, band, shares = plan
    filters, channels, line = F // groups, C // groups, KH * KW * C // groups
    count = _place_taps(spots, table, band, plane, lanes(x), geometry)
    tiles, blocks = (count + TAP_VECTORS - 1) // TAP_VECTORS, (filters + TAP_ROWS - 1) // TAP_ROWS
    turned[:] = 0
    tasks, room = groups * tiles * blocks, table.size * TAP_ROWS
    for step in range((N + images - 1) // images * ((OH + band - 1) // band)):
        wave, part = divmod(step, (OH + band - 1) // band)
        image, top = wave * images, part * band
        here, pixels = min(images, N - image), min(band, OH - top) * OW
        _turn(x, turned, (image, here, top), plane, geometry)
        _pack_outputs(g, packed, (image, here, top * OW, pixels), room, geometry)
        for share in prange(shares):
            for start in range(0, here * pixels, STRETCH):
                size = min(STRETCH, here * pixels - start)
                for task in range(np.int64(share) * tasks // shares, (np.int64(share) + 1) * tasks // shares):
                    rest, block = divmod(task, blocks)
                    group, tile = divmod(rest, tiles)
                    f = group * filters + block * TAP_ROWS
                    taps(
                        sums, f * line, line, min(TAP_ROWS, filters - block * TAP_ROWS), step + start > 0, zeros, ZERO,
                        packed, (group * blocks + block) * room + start * TAP_ROWS,
                        turned, group * channels, True, spots, tile * TAP_VECTORS * SPOT, table, start, size,
                    )  # fmt: skip
    result, size = gw.reshape(gw.size), KH * KW
    for f in prange(F):
        for c in range(0, channels, lanes(x)):
            for tap in range(0, size, lanes(x)):
                to, at = (np.int64(f) * channels + c) * size + tap, np.int64(f) * line + tap * channels + c
                transpose(result, to, size, sums, at, channels, min(lanes(x), size - tap), min(lanes(x), channels - c))


_conv2d_grad_w_parallel = parallel_form(_conv2d_grad_w)


@njit
def _conv2d_grad_w_thin(g, x, gw, planes, table, spots, sums, totals, layout, geometry):
    """For few filters in a group: dot products in the dtype of x, `totals` in float64."""
    (N, C, H, W), (F, _, _), (OH, OW), stride, padding, _, groups = geometry
    (A, B, _), (HP, WP), _, images = layout
    places, few, channel = table.size, lanes(x), images * HP * WP
    offsets(table, (channel, WP), (A, B, False), geometry)
    planes[C * A * B * channel :] = 0
    totals[:] = 0.0
    flat, room = g.reshape(g.size), sums.size // F
    for image in range(0, N, images):
        here = min(images, N - image)
        fill(x, planes, ZERO, ((image, here, images), (A, B, ONE)), ((C, H, W), stride, padding), (HP, WP))
        count = place_vectors(spots, few, few, ZERO, (here, OH, OW), (HP * WP, WP), (F * OH * OW, OW, True))
        for task in prange(F):
            f = np.int64(task)
            at, start = (image * F + f) * OH * OW, f // (F // groups) * (C // groups) * A * B * channel
            for v in range(0, count, STRETCH // 2):
                vectors = min(STRETCH // 2, count - v)
                for t in range(0, places, ROW_DOTS):
                    columns = min(ROW_DOTS, places - t)
                    mine = sums[f * room : (f + 1) * room]
                    row_dots(mine, flat, at, planes, start, spots, v * SPOT, vectors, table, t, columns)
                    for j in range(columns):
                        totals[f * places + t + j] += mine[j]
    result = gw.reshape(gw.size)
    for i in range(gw.size):
        result[i] = totals[i]


_conv2d_grad_w_thin_parallel = parallel_form(_conv2d_grad_w_thin)


@lru_cache(1024)
def _geometry(
    x_shape: tuple, w_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int, flat: bool = True
) -> Geometry:  # fmt: skip
    """`flat`: a filter of one pixel that reads each pixel once sees images of one long row."""
    F, _, KH, KW = w_shape
    N, C, H, W = x_shape
    if flat and (KH, KW) == stride == (1, 1) and padding == (0, 0):
        return (N, C, 1, H * W), (F, KH, KW), (1, H * W), stride, padding, dilation, groups
    out = tuple([conv_size(x_shape[i + 2], w_shape[i + 2], stride[i], padding[i], dilation[i]) for i in (0, 1)])
    return x_shape, (F, KH, KW), out, stride, padding, dilation, groups


@lru_cache(1024)
def _flipped(geometry: Geometry) -> Geometry:
    """The geometry of the gradient of x where the stride is 1: g is correlated with the flipped weights."""
    x_shape, (F, KH, KW), out, stride, padding, dilation, groups = geometry
    rest = dilation[0] * (KH - 1) - padding[0], dilation[1] * (KW - 1) - padding[1]
    return (x_shape[0], F, *out), (x_shape[1], KH, KW), x_shape[2:], stride, rest, dilation, groups


def _layout(geometry: Geometry, narrow: bool, itemsize: int, wave: int = WAVE) -> tuple[Layout, int]:
    """How planes lie, and their size; 0 where x is read where it lies."""
    (N, C, _, W), (_, KH, KW), (OH, OW), (SH, SW), padding, (DH, DW), _ = geometry
    A, B = SH if KH > 1 else 1, KW if narrow else SW if KW > 1 else 1
    reach = (KH - 1) * DH // SH
    WP = OW
    if not narrow:
        # With stride 1 the padding on the right is the next row's on the left.
        WP = W + padding[1] if SW == 1 and padding[1] >= 0 and W + padding[1] >= OW else OW + (KW - 1) * DW // SW
    bands = -(-OH // max(1, wave // (C * A * B * WP * itemsize) - reach))
    band = -(-OH // bands)
    HP = band + reach
    images = max(1, min(N, wave // (C * A * B * HP * WP * itemsize))) if band == OH else 1
    size = C * A * B * images * HP * WP + (KW - 1) * DW + WP + SPARE
    if (SH, SW) == (1, 1) and padding == (0, 0) and not narrow:
        band, size = OH, 0
    return ((A, B, narrow), (HP, WP), band, images), size


def _split(dtype: np.dtype, *sizes: int) -> list[np.ndarray]:
    """Arrays that share the workspace, each aligned."""
    padded = [-(-size // 16) * 16 for size in sizes]
    buffer = workspace(sum(padded), dtype)
    starts = [sum(padded[:i]) for i in range(len(padded))]
    return [buffer[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def _packed(groups: int, filters: int, places: int) -> int:
    """Elements of weights in blocks of TAP_ROWS."""
    return groups * -(-filters // TAP_ROWS) * TAP_ROWS * places


def _way(geometry: Geometry, few: int) -> tuple[bool, bool]:
    """Whether planes are narrow, one for each column of the kernel, and whether panels are gathered from them.

    Rows that are no whole vectors leave lanes empty, and taps far apart miss the caches of memory and addresses. Panels cost moves.
    Compared are the cycles of one tap of a tile.
    """
    (_, C, _, _), (F, KH, _), (OH, OW), _, _, _, groups = geometry
    filters = F // groups
    if filters <= FEW:
        return False, False
    tile = -(-filters // TAP_ROWS) * TAP_ROWS * TAP_VECTORS / 2
    row = -(-OW // few) * few / OW
    far = 1.2 if C // groups * KH > FAR else 1.0
    moves = 8 + (10 * row * (OH + KH - 1) / (OH * KH) if row > 1 else 0)
    dense = tile + moves < tile * row * far
    return dense and row > 1, dense


@lru_cache(1024)
def _plan(geometry: Geometry, dtype: np.dtype, threads: int) -> tuple:
    """Layout and size of the planes; taps at a time, elements of a panel, shares; sizes of `spots` and `work`."""
    (_, C, _, _), (F, KH, KW), (_, OW), _, _, _, groups = geometry
    few, places = VECTOR_BYTES // dtype.itemsize, C // groups * KH * KW
    narrow, dense = _way(geometry, few)
    layout, size = _layout(geometry, narrow, dtype.itemsize, PANEL_WAVE if dense else WAVE)
    shares = 8 * threads if threads > 1 else 1
    depth, panel = max(1, -(-places // max(1, -(-places // DEPTH)))), 0
    if dense:
        depth = -(-places // -(-places // PANEL_DEPTH))
        panel = depth * TAP_VECTORS * few
        shares = min(shares, 2 * threads)
    rows = layout[1][0] * -(-max(OW, layout[1][1]) // few)
    spots = (layout[3] * rows + ROW_VECTORS + shares * TAP_VECTORS * few) * SPOT
    work = shares * (max(TAP_ROWS * TAP_VECTORS, FEW * ROW_VECTORS) * few + CHUNK * panel)
    return layout, size, (depth, panel, shares), spots, work


def _bias(b: np.ndarray | None, filters: int, dtype: np.dtype) -> np.ndarray:
    """The bias and some zeros behind it."""
    result = np.zeros(filters + TAP_ROWS, dtype)
    if b is not None:
        result[:filters] = b
    return result


def _run(x: np.ndarray, w: np.ndarray, bias: np.ndarray, y: np.ndarray, geometry: Geometry, flipped: bool) -> np.ndarray:
    """y, filled."""
    C, (F, KH, KW), groups = geometry[0][1], geometry[1], geometry[6]
    places = C // groups * KH * KW
    parallel = pays(y.size * places, MIN_WORK)
    layout, size, (depth, panel, shares), vectors, room = _plan(geometry, x.dtype, get_num_threads() if parallel else 1)
    planes, packed, work = _split(x.dtype, size, _packed(groups, F // groups, places), room)
    table, spots = np.empty(places + depth, np.int64), np.empty(vectors, np.int64)
    run, plan = _correlate_parallel if parallel else _correlate, (depth, panel, shares, flipped)
    run(contiguous(x), contiguous(w), bias, y, planes, packed, table, spots, work, plan, layout, geometry)
    return y


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """y[n, f, oy, ox] = b[f] + sum_{c, ky, kx} x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] * w[f, c, ky, kx]."""
    sizes = [conv_size(x.shape[i + 2], w.shape[i + 2], stride[i], padding[i], dilation[i]) for i in (0, 1)]
    y = np.empty((x.shape[0], w.shape[0], *sizes), x.dtype)
    if not y.size:
        return y
    return _run(x, w, _bias(b, w.shape[0], x.dtype), y, _geometry(x.shape, w.shape, stride, padding, dilation, groups), False)


def conv2d_grad_x(g: np.ndarray, w: np.ndarray, x_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """gx[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] += g[n, f, oy, ox] * w[f, c, ky, kx], over all f, ky, kx."""
    geometry = _geometry(x_shape, w.shape, stride, padding, dilation, groups)
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), _ = geometry
    zeros = _bias(None, C, g.dtype)
    if stride == (1, 1) and g.size and w.size and C:
        return _run(g, w, zeros, np.empty(x_shape, g.dtype), _flipped(geometry), True)
    gx = np.zeros(x_shape, g.dtype)
    if not gx.size or not g.size:
        return gx
    A, B = SH if KH > 1 else 1, SW if KW > 1 else 1
    HP, WP = OH + (KH - 1) * DH // SH, OW + (KW - 1) * DW // SW
    images = max(1, min(N, WAVE // (F * HP * WP * g.itemsize)))
    places, few = F // groups * KH * KW, VECTOR_BYTES // g.dtype.itemsize
    parallel = pays(g.size * (w.size // F), MIN_WORK)
    shares, lead = 8 * get_num_threads() if parallel else 1, (KH - 1) * DH // SH * WP + (KW - 1) * DW // SW
    page = max(TAP_ROWS * TAP_VECTORS, FEW * ROW_VECTORS) * few
    planes, packed, work = _split(g.dtype, lead + F * images * HP * WP + SPARE, _packed(groups, C // groups, places), shares * page)
    table, spots = np.empty(places + A * B + 1, np.int64), np.empty((images * HP * -(-WP // few) + ROW_VECTORS) * SPOT, np.int64)
    plan, layout = (max(1, min(places, DEPTH)), 0, shares, True), ((A, B, False), (HP, WP), HP, images)
    run = _conv2d_grad_x_parallel if parallel else _conv2d_grad_x
    run(contiguous(g), contiguous(w), zeros, gx, planes, packed, table, spots, work, plan, layout, geometry)
    return gx


def conv2d_grad_w(g: np.ndarray, x: np.ndarray, w_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """gw[f, c, ky, kx] = sum_{n, oy, ox} g[n, f, oy, ox] * x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW]."""
    gw = np.zeros(w_shape, g.dtype)
    if not g.size or not gw.size:
        return gw
    geometry = _geometry(x.shape, w_shape, stride, padding, dilation, groups, False)
    (_, C, _, _), (F, KH, KW), out, _, _, _, _ = geometry
    places, few = C // groups * KH * KW, VECTOR_BYTES // g.dtype.itemsize
    parallel = pays(g.size * places, MIN_WORK)
    if F // groups > FEW:
        _grad_w(contiguous(g), contiguous(x), gw, parallel, geometry)
        return gw
    layout, size = _layout(geometry, False, g.itemsize)
    (A, B, _), (HP, WP), _, _ = layout
    HP, images = out[0] + HP - layout[2], max(1, layout[3] if layout[2] == out[0] else 1)
    (planes,) = _split(g.dtype, C * A * B * images * HP * WP + WP + KW * geometry[5][1] + SPARE)
    spots = np.empty((images * out[0] * -(-out[1] // few) + ROW_VECTORS) * SPOT, np.int64)
    run = _conv2d_grad_w_thin_parallel if parallel else _conv2d_grad_w_thin
    sums, totals = np.empty(F * -(-ROW_DOTS // few) * few, g.dtype), np.empty(gw.size, np.float64)
    layout = ((A, B, False), (HP, WP), out[0], images)
    run(contiguous(g), contiguous(x), gw, planes, np.empty(places, np.int64), spots, sums, totals, layout, geometry)
    return gw


def _grad_w(g: np.ndarray, x: np.ndarray, gw: np.ndarray, parallel: bool, geometry: Geometry) -> None:
    (N, C, _, _), (F, KH, KW), (OH, OW), (SH, SW), _, (DH, DW), groups = geometry
    width, reach = (OW - 1) * SW + (KW - 1) * DW + 1, (KH - 1) * DH + 1  # columns and rows that a row of windows reaches
    row = C * SH * width + _packed(groups, F // groups, OW)
    bands = -(-OH // max(1, (WAVE // g.itemsize - C * reach * width) // row))
    band = -(-OH // bands)
    images = max(1, min(N, WAVE // (band * row * g.itemsize))) if bands == 1 else 1
    few, plane, pixels = VECTOR_BYTES // g.dtype.itemsize, ((band - 1) * SH + reach, width), images * band * OW
    turned, packed = _split(g.dtype, images * C * plane[0] * plane[1], _packed(groups, F // groups, pixels))
    spots = np.empty((KH * KW * -(-C // groups // few) + KH * -(-KW * C // few) + TAP_VECTORS) * SPOT, np.int64)
    table, sums = np.empty(pixels, np.int64), np.empty(gw.size, g.dtype)
    run = _conv2d_grad_w_parallel if parallel else _conv2d_grad_w
    plan = (images, band, 8 * get_num_threads() if parallel else 1)
    run(g, x, np.zeros(TAP_ROWS, g.dtype), gw, turned, packed, table, spots, sums, plan, plane, geometry)
