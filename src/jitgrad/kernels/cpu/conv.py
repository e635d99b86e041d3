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

import numpy as np

from jitgrad.kernels.cpu.conv_planes import fill, fill_outputs, offsets
from jitgrad.kernels.cpu.conv_tiles import CHUNK, FEW, ONE, ZERO, flip, pack, place_vectors, products
from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import get_num_threads, njit, parallel_form, pays, prange, workspace
from jitgrad.kernels.simd_code import VECTOR_BYTES
from jitgrad.kernels.simd_conv import ROW_DOTS, ROW_VECTORS, SPOT, TAP_ROWS, TAP_VECTORS, lanes, row_dots, taps, transpose
from jitgrad.shapes import conv_size

WAVE = 1 << 20  # bytes of planes at a time
DEPTH = 512  # taps at a time: their weights stay in L1
PANEL_DEPTH = 256  # taps of a panel at a time, whose tiles stay in L2
STRETCH = 192  # pixels at a time in gradients of weights
MIN_WORK = 1 << 17  # products from which threads pay

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
def _conv2d(x, w, bias, y, planes, packed, table, spots, work, plan, geometry):
    """Without `planes` images are read where they lie. `plan`: images of a wave, taps at a time, elements of a panel or 0, shares."""
    (N, C, H, W), (F, _, _), (OH, OW), stride, padding, _, (groups, A, B), (HP, WP) = geometry
    images, depth, panel, shares = plan
    places = table.size - depth
    lines, table = table[places:], table[:places]
    source, channel = ((HP * WP, WP), images * HP * WP) if planes.size else ((C * H * W, W), H * W)
    offsets(table, (channel, source[1]), geometry)
    pack(w, packed, groups)
    _count(lines, w)
    flat = x.reshape(x.size)
    planes[min(planes.size, C * A * B * channel) :] = 0
    for image in range(0, N, images):
        here = min(images, N - image)
        if planes.size:
            fill(x, planes, ZERO, ((image, here, images), (A, B)), ((C, H, W), stride, padding), (HP, WP))
        numbers = (
            (ZERO if planes.size else image * C * H * W, image * F * OH * OW), (ZERO, places, places, depth),
            (groups, F // groups, C // groups * A * B * channel, OH * OW), (panel, shares),
        )  # fmt: skip
        target = (F * OH * OW, OW, ONE)
        data = planes if planes.size else flat
        products(data, table, packed, bias, y.reshape(y.size), work, spots, lines, numbers, (here, OH, OW), source, target)


_conv2d_parallel = parallel_form(_conv2d)


@njit
def _count(lines, w):
    """Where the rows of a panel begin."""
    for t in range(lines.size):
        lines[t] = t * TAP_VECTORS * lanes(w)


@njit
def _conv2d_grad_x(g, w, zeros, gx, planes, packed, table, spots, work, plan, geometry):
    """Phase (a, b) of gx adds up the taps that reach it; `table` has room for the taps, the phases' starts and the rows of a panel.

    Without `planes` images are read where they lie. Pixels that no window reaches are zero before.
    """
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), _, (groups, A, B), (HP, WP) = geometry
    images, depth, panel, shares = plan
    places = F // groups * KH * KW
    lines, starts, table = table[table.size - depth :], table[places : places + A * B + 1], table[:places]
    source, channel = ((HP * WP, WP), images * HP * WP) if planes.size else ((F * OH * OW, OW), OH * OW)
    lead = max(0, planes.size - F * channel)  # zeros, which the first rows reach back into
    flip(w, packed, table, starts, (channel, source[1]), geometry)
    _count(lines, w)
    planes[:lead] = 0
    flat = g.reshape(g.size)
    for image in range(0, N, images):
        here = min(images, N - image)
        if planes.size:
            fill_outputs(g, planes, lead, (image, here, images), geometry)
        for phase in range(A * B):
            a, b = divmod(phase, B)
            top, left = max(0, (PH - a + SH - 1) // SH), max(0, (PW - b + SW - 1) // SW)
            bottom, right = min(HP, (H + PH - a + SH - 1) // SH), min(WP, (W + PW - b + SW - 1) // SW)
            if top < bottom and left < right:
                shift = (lead if planes.size else image * F * OH * OW) + top * source[1] + left
                begin = image * C * H * W + (top * SH + a - PH) * W + left * SW + b - PW
                numbers = (
                    (shift, begin), (starts[phase], starts[phase + 1], places, depth),
                    (groups, C // groups, F // groups * channel, H * W), (panel, shares),
                )  # fmt: skip
                data, domain, target = planes if planes.size else flat, (here, bottom - top, right - left), (C * H * W, SH * W, SW)
                products(data, table, packed, zeros, gx.reshape(gx.size), work, spots, lines, numbers, domain, source, target)


_conv2d_grad_x_parallel = parallel_form(_conv2d_grad_x)


@njit
def _turn(x, turned, image, here, plane, geometry):
    """turned[n, r, q, c] = padded x[image + n, c, r, q], where the padding is zero before."""
    (_, C, H, W), _, _, _, (PH, PW), _, _, _ = geometry
    HP, WP = plane
    flat = x.reshape(x.size)
    few = lanes(x)
    rows, columns = min(H, HP - PH), min(W, WP - PW)
    for task in prange(here * max(0, rows)):
        n, y = divmod(np.int64(task), rows)
        to, at = ((n * HP + y + PH) * WP + PW) * C, ((image + n) * C * H + y) * W
        for c in range(0, C, few):
            for q in range(0, columns, few):
                transpose(turned, to + q * C + c, C, flat, at + c * H * W + q, H * W, min(few, C - c), min(few, columns - q))


@njit
def _pack_outputs(g, packed, image, here, images, geometry):
    """packed[group, block, n, pixel, i] = g[image + n, block*TAP_ROWS + i of the group, pixel]."""
    _, (F, _, _), (OH, OW), _, _, _, (groups, _, _), _ = geometry
    filters, pixels, few = F // groups, OH * OW, lanes(g)
    blocks = (filters + TAP_ROWS - 1) // TAP_ROWS
    flat = g.reshape(g.size)
    for task in prange(groups * blocks * here):
        rest, n = divmod(np.int64(task), here)
        group, block = divmod(rest, blocks)
        to, at = (rest * images + n) * pixels * TAP_ROWS, ((image + n) * F + group * filters + block * TAP_ROWS) * pixels
        for p in range(0, pixels, few):
            rows = min(TAP_ROWS, filters - block * TAP_ROWS)
            transpose(packed, to + p * TAP_ROWS, TAP_ROWS, flat, at + p, pixels, rows, min(few, pixels - p))


@njit
def _place_taps(spots, table, images, plane, few, geometry):
    """The vectors of weights, which are ordered (ky, kx, c), and where they read the turned planes; table: where the pixels are in those."""
    (_, C, _, _), (_, KH, KW), (OH, OW), (SH, SW), _, (DH, DW), (groups, _, _), _ = geometry
    HP, WP = plane
    for p in range(images * OH * OW):
        line, ox = divmod(p, OW)
        n, oy = divmod(line, OH)
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
    """`plane` is the size of the padded images; `sums` is gw as (f, ky, kx, c)."""
    (N, C, _, _), (F, KH, KW), (OH, OW), _, _, _, (groups, _, _), _ = geometry
    images, shares = plan
    filters, channels, pixels = F // groups, C // groups, OH * OW
    line = KH * KW * channels
    count = _place_taps(spots, table, images, plane, lanes(x), geometry)
    tiles, blocks = (count + TAP_VECTORS - 1) // TAP_VECTORS, (filters + TAP_ROWS - 1) // TAP_ROWS
    turned[:] = 0
    tasks = groups * tiles * blocks
    for image in range(0, N, images):
        here = min(images, N - image)
        _turn(x, turned, image, here, plane, geometry)
        _pack_outputs(g, packed, image, here, images, geometry)
        for share in prange(shares):
            for start in range(0, here * pixels, STRETCH):
                size = min(STRETCH, here * pixels - start)
                for task in range(np.int64(share) * tasks // shares, (np.int64(share) + 1) * tasks // shares):
                    rest, block = divmod(task, blocks)
                    group, tile = divmod(rest, tiles)
                    f = group * filters + block * TAP_ROWS
                    at = ((group * blocks + block) * images * pixels + start) * TAP_ROWS
                    taps(
                        sums, f * line, line, min(TAP_ROWS, filters - block * TAP_ROWS), image + start > 0, zeros, ZERO,
                        packed, at, turned, group * channels, spots, tile * TAP_VECTORS * SPOT, table, start, size,
                    )  # fmt: skip
    result, size = gw.reshape(gw.size), KH * KW
    for f in prange(F):
        for c in range(0, channels, lanes(x)):
            for tap in range(0, size, lanes(x)):
                to, at = (np.int64(f) * channels + c) * size + tap, np.int64(f) * line + tap * channels + c
                transpose(result, to, size, sums, at, channels, min(lanes(x), size - tap), min(lanes(x), channels - c))


_conv2d_grad_w_parallel = parallel_form(_conv2d_grad_w)


@njit
def _conv2d_grad_w_thin(g, x, gw, planes, table, spots, sums, totals, images, geometry):
    """For few filters in a group: dot products in the dtype of x, `totals` in float64."""
    (N, C, H, W), (F, _, _), (OH, OW), stride, padding, _, (groups, A, B), (HP, WP) = geometry
    places, few, channel = table.size, lanes(x), images * HP * WP
    offsets(table, (channel, WP), geometry)
    planes[C * A * B * channel :] = 0
    totals[:] = 0.0
    flat, room = g.reshape(g.size), sums.size // F
    for image in range(0, N, images):
        here = min(images, N - image)
        fill(x, planes, ZERO, ((image, here, images), (A, B)), ((C, H, W), stride, padding), (HP, WP))
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


def _packed(groups: int, filters: int, places: int) -> int:
    """Elements of weights in blocks of TAP_ROWS."""
    return groups * -(-filters // TAP_ROWS) * TAP_ROWS * places


def _flat(shape: tuple, w_shape: tuple, stride: Pair, padding: Pair) -> tuple:
    """The shape with one long row an image where the filter is one pixel that reads each pixel once."""
    if w_shape[2:] == stride == (1, 1) and padding == (0, 0):
        return (*shape[:2], 1, shape[2] * shape[3])
    return shape


def _pays_dense(few: int, filters: int, columns: int) -> bool:
    """Whether gathering panels costs less than the empty lanes at the ends of rows; in cycles of one tap of a tile."""
    blocks = -(-filters // TAP_ROWS)
    tile = TAP_ROWS * TAP_VECTORS / 2 * blocks
    waste = -(-columns // few) * few / columns
    return filters > FEW and tile * waste > tile + 2 * (1 + TAP_VECTORS * few / min(columns, few))


def _plan(dtype: np.dtype, wave: int, filters: int, places: int, domain: Pair, parallel: bool) -> tuple:
    """(images, taps at a time, elements of a panel, shares), and the sizes of `spots` and `work`."""
    few = VECTOR_BYTES // dtype.itemsize
    shares = 8 * get_num_threads() if parallel else 1
    depth, panel = max(1, min(places, DEPTH)), 0
    if _pays_dense(few, filters, domain[1]):
        stretches = -(-max(1, places) // PANEL_DEPTH)
        depth = -(-max(1, places) // stretches)
        panel = depth * TAP_VECTORS * few
        shares = min(shares, 2 * get_num_threads())
    vectors = wave * domain[0] * -(-domain[1] // few) + ROW_VECTORS
    return (wave, depth, panel, shares), vectors * SPOT, shares * (max(TAP_ROWS * TAP_VECTORS, FEW * ROW_VECTORS) * few + CHUNK * panel)


def _bias(b: np.ndarray | None, filters: int, dtype: np.dtype) -> np.ndarray:
    """The bias and some zeros behind it."""
    result = np.zeros(filters + TAP_ROWS, dtype)
    if b is not None:
        result[:filters] = b
    return result


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """y[n, f, oy, ox] = b[f] + sum_{c, ky, kx} x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] * w[f, c, ky, kx]."""
    y = np.empty((x.shape[0], w.shape[0], *_geometry(x.shape, w.shape, stride, padding, dilation, groups)[2]), x.dtype)
    if not y.size:
        return y
    geometry = _geometry(_flat(x.shape, w.shape, stride, padding), w.shape, stride, padding, dilation, groups)
    (_, C, _, _), (F, KH, KW), out, _, _, _, (_, A, B), (HP, WP) = geometry
    places = C // groups * KH * KW
    parallel = pays(y.size * places, MIN_WORK)
    images, size = _wave(geometry, C * A * B, x.itemsize), 0
    if (stride, padding) != ((1, 1), (0, 0)):
        size = C * A * B * images * HP * WP + _slack(geometry)
    plan, vectors, room = _plan(x.dtype, images, F // groups, places, out, parallel)
    planes, packed, work = _split(x.dtype, size, _packed(groups, F // groups, places), room)
    table, spots = np.empty(places + plan[1], np.int64), np.empty(vectors, np.int64)
    run = _conv2d_parallel if parallel else _conv2d
    run(contiguous(x), contiguous(w), _bias(b, F, x.dtype), y, planes, packed, table, spots, work, plan, geometry)
    return y


def conv2d_grad_x(g: np.ndarray, w: np.ndarray, x_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """gx[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] += g[n, f, oy, ox] * w[f, c, ky, kx], over all f, ky, kx."""
    geometry = _geometry(_flat(x_shape, w.shape, stride, padding), w.shape, stride, padding, dilation, groups)
    (_, C, H, W), (F, KH, KW), _, _, (PH, PW), _, (_, A, B), (HP, WP) = geometry
    everywhere = stride == (1, 1) and HP >= H + PH and WP >= W + PW
    gx = np.empty(x_shape, g.dtype) if everywhere and g.size else np.zeros(x_shape, g.dtype)
    if not gx.size or not g.size:
        return gx
    places = F // groups * KH * KW
    parallel = pays(g.size * (w.size // F), MIN_WORK)
    images, size = _wave(geometry, F, g.itemsize), 0
    if (KH, KW) != (1, 1) or stride != (1, 1) or padding != (0, 0):
        size = F * images * HP * WP + _slack(geometry)
    plan, vectors, room = _plan(g.dtype, images, C // groups, places, (min(HP, H), min(WP, W)), parallel)
    planes, packed, work = _split(g.dtype, size, _packed(groups, C // groups, places), room)
    table, spots = np.empty(places + A * B + 1 + plan[1], np.int64), np.empty(vectors, np.int64)
    run = _conv2d_grad_x_parallel if parallel else _conv2d_grad_x
    run(contiguous(g), contiguous(w), _bias(None, C, g.dtype), gx, planes, packed, table, spots, work, plan, geometry)
    return gx


def conv2d_grad_w(g: np.ndarray, x: np.ndarray, w_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """gw[f, c, ky, kx] = sum_{n, oy, ox} g[n, f, oy, ox] * x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW]."""
    gw = np.empty(w_shape, g.dtype)
    if not g.size or not gw.size:
        return np.zeros(w_shape, g.dtype)
    geometry = _geometry(_flat(x.shape, w_shape, stride, padding), w_shape, stride, padding, dilation, groups)
    (_, C, _, _), (F, KH, KW), out, _, _, _, (_, A, B), (HP, WP) = geometry
    places, few = C // groups * KH * KW, VECTOR_BYTES // g.dtype.itemsize
    parallel = pays(g.size * places, MIN_WORK)
    if F // groups <= FEW:
        images = _wave(geometry, C * A * B, x.itemsize)
        (planes,) = _split(g.dtype, C * A * B * images * HP * WP + _slack(geometry))
        spots = np.empty((images * out[0] * -(-out[1] // few) + ROW_VECTORS) * SPOT, np.int64)
        run = _conv2d_grad_w_thin_parallel if parallel else _conv2d_grad_w_thin
        sums, totals = np.empty(F * -(-ROW_DOTS // few) * few, g.dtype), np.empty(gw.size, np.float64)
        run(contiguous(g), contiguous(x), gw, planes, np.empty(places, np.int64), spots, sums, totals, images, geometry)
        return gw
    _grad_w(contiguous(g), contiguous(x), gw, parallel, geometry)
    return gw


def _grad_w(g: np.ndarray, x: np.ndarray, gw: np.ndarray, parallel: bool, geometry: Geometry) -> None:
    (N, C, _, _), (F, KH, KW), (OH, OW), (SH, SW), _, (DH, DW), (groups, _, _), _ = geometry
    plane = (OH - 1) * SH + (KH - 1) * DH + 1, (OW - 1) * SW + (KW - 1) * DW + 1  # what windows reach
    pixels = OH * OW
    image = C * plane[0] * plane[1] + _packed(groups, F // groups, pixels)
    images = max(1, min(N, WAVE // (image * g.itemsize)))
    few = VECTOR_BYTES // g.dtype.itemsize
    turned, packed = _split(g.dtype, images * C * plane[0] * plane[1], _packed(groups, F // groups, images * pixels))
    spots = np.empty((KH * KW * -(-C // groups // few) + KH * -(-KW * C // few) + TAP_VECTORS) * SPOT, np.int64)
    table, sums = np.empty(images * pixels, np.int64), np.empty(gw.size, g.dtype)
    run = _conv2d_grad_w_parallel if parallel else _conv2d_grad_w
    plan = (images, 8 * get_num_threads() if parallel else 1)
    run(g, x, np.zeros(TAP_ROWS, g.dtype), gw, turned, packed, table, spots, sums, plan, plane, geometry)
