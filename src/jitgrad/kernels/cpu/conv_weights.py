"""Gradients of the weights of convolutions.

gw[f, (ky, kx, c)] = sum_pixel g[pixel, f] x[place of the pixel + offset(ky, kx), c]: for tiles of the same kind as the convolution's
the channels of a pixel are laid side by side. Where those would be mostly empty, dot products over vectors of pixels take their place.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.conv_plan import SPARE, Geometry, layout_of, packed_size, split
from jitgrad.kernels.cpu.conv_planes import fill, offsets
from jitgrad.kernels.cpu.conv_tiles import FEW, ZERO, place_vectors
from jitgrad.kernels.jit import get_num_threads, njit, parallel_form, prange
from jitgrad.kernels.simd_code import VECTOR_BYTES, lanes
from jitgrad.kernels.simd_conv import ROW_DOTS, ROW_VECTORS, SPOT, TAP_ROWS, TAP_VECTORS, row_dots, taps, transpose

WAVE = 1 << 20  # bytes of images laid out anew at a time
STRETCH = 192  # pixels at a time
ENOUGH = 0.6  # of the lanes of tiles, below which dot products are faster


@njit
def _turn(x, turned, place, plane, geometry):
    """turned[n, r, q, c] = padded x[image + n, c, top*SH + r, q]; the padding of columns is zero before. `place`: image, here, top."""
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
    """packed[group, block, n, pixel, i] = g[image + n, block*TAP_ROWS + i of the group, first + pixel].

    `place`: image, here, first, pixels; `size`: numbers of a block.
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
    """Dot products in the dtype of x, `totals` in float64."""
    (N, C, H, W), (F, _, _), (OH, OW), stride, padding, _, groups = geometry
    (A, B), (HP, WP), _, images = layout
    places, few, channel = table.size, lanes(x), HP * WP
    offsets(table, (channel, WP), (A, B), geometry)
    planes[images * C * A * B * channel :] = 0
    totals[:] = 0.0
    flat, room = g.reshape(g.size), sums.size // F
    for image in range(0, N, images):
        here = min(images, N - image)
        fill(x, planes, ZERO, ((image, here), (A, B)), ((C, H, W), stride, padding), (HP, WP))
        count = place_vectors(spots, few, few, False, (here, OH, OW), (C * A * B * channel, WP), (F * OH * OW, OW, True))
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


def thin(geometry: Geometry, few: int) -> bool:
    """Whether tiles would be mostly empty: few filters of a group, or few weights beside each other."""
    (_, C, _, _), (F, KH, KW), _, _, _, (_, DW), groups = geometry
    filters, line = F // groups, (KW if DW == 1 else 1) * C // groups
    vectors = -(-line // few) * KH * (1 if DW == 1 else KW)
    room = -(-vectors // TAP_VECTORS) * TAP_VECTORS * few * -(-filters // TAP_ROWS) * TAP_ROWS
    return filters <= FEW or C // groups * KH * KW * filters < ENOUGH * room


def sum_weights_thin(g: np.ndarray, x: np.ndarray, gw: np.ndarray, parallel: bool, geometry: Geometry) -> None:
    (_, C, _, _), (F, KH, KW), out, _, _, _, groups = geometry
    places, few = C // groups * KH * KW, VECTOR_BYTES // g.dtype.itemsize
    layout, _ = layout_of(geometry, g.itemsize)
    (A, B), (HP, WP), _, _ = layout
    HP, images = out[0] + HP - layout[2], max(1, layout[3] if layout[2] == out[0] else 1)
    (planes,) = split(g.dtype, C * A * B * images * HP * WP + WP + KW * geometry[5][1] + SPARE)
    spots = np.empty((images * out[0] * -(-out[1] // few) + ROW_VECTORS) * SPOT, np.int64)
    run = _conv2d_grad_w_thin_parallel if parallel else _conv2d_grad_w_thin
    sums, totals = np.empty(F * -(-ROW_DOTS // few) * few, g.dtype), np.empty(gw.size, np.float64)
    layout = ((A, B), (HP, WP), out[0], images)
    run(g, x, gw, planes, np.empty(places, np.int64), spots, sums, totals, layout, geometry)


def sum_weights(g: np.ndarray, x: np.ndarray, gw: np.ndarray, parallel: bool, geometry: Geometry) -> None:
    (N, C, _, _), (F, KH, KW), (OH, OW), (SH, SW), _, (DH, DW), groups = geometry
    width, reach = (OW - 1) * SW + (KW - 1) * DW + 1, (KH - 1) * DH + 1  # columns and rows that a row of windows reaches
    row = C * SH * width + packed_size(groups, F // groups, OW)
    bands = -(-OH // max(1, (WAVE // g.itemsize - C * reach * width) // row))
    band = -(-OH // bands)
    images = max(1, min(N, WAVE // (band * row * g.itemsize))) if bands == 1 else 1
    few, plane, pixels = VECTOR_BYTES // g.dtype.itemsize, ((band - 1) * SH + reach, width), images * band * OW
    turned, packed = split(g.dtype, images * C * plane[0] * plane[1], packed_size(groups, F // groups, pixels))
    spots = np.empty((KH * KW * -(-C // groups // few) + KH * -(-KW * C // few) + TAP_VECTORS) * SPOT, np.int64)
    table, sums = np.empty(pixels, np.int64), np.empty(gw.size, g.dtype)
    run = _conv2d_grad_w_parallel if parallel else _conv2d_grad_w
    plan = (images, band, 8 * get_num_threads() if parallel else 1)
    run(g, x, np.zeros(TAP_ROWS, g.dtype), gw, turned, packed, table, spots, sums, plan, plane, geometry)
