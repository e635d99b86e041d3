"""Gradients of the weights of convolutions.

gw[f, (ky, kx, c)] = sum_pixel g[pixel, f] x[place of the pixel + offset(ky, kx), c]: for tiles of the same kind as the convolution's
the channels of a pixel are laid side by side. Where those would be mostly empty, dot products over vectors of pixels take their place.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.conv_plan import SPARE, WAVE as PLANE_WAVE, Geometry, layout_of, packed_size, split
from jitgrad.kernels.cpu.conv_planes import fill, offsets
from jitgrad.kernels.cpu.conv_tiles import FEW, ZERO, block_of, place_vectors
from jitgrad.kernels.cpu.tasks import own, parts_of
from jitgrad.kernels.jit import get_num_threads, njit, parallel_form, prange
from jitgrad.kernels.simd_code import VECTOR_BYTES, lanes
from jitgrad.kernels.simd_conv import ROW_DOTS, ROW_VECTORS, SPOT, TAP_ROWS, TAP_VECTORS, row_dots, taps, transpose

WAVE = 1 << 20  # bytes of images laid out anew at a time
STRETCH = 192  # pixels at a time
SUMS = 1 << 20  # bytes up to which the sums of all tasks are small
ENOUGH = 0.6  # of the lanes of tiles, below which dot products are faster


@njit
def _turn(x, turned, place, plane, geometry):
    """turned[n, r, q, c] = padded x[image + n, c, top*SH + r, q]; the padding of columns is zero before. `place`: image, here, top."""
    (_, C, H, W), _, _, (SH, _), (PH, PW), _, _ = geometry
    (image, here, top), (HP, WP) = place, plane
    flat, few = x.reshape(x.size), lanes(x)
    columns = min(W, WP - PW)
    for line in range(here * HP):
        n, r = divmod(line, HP)
        to, y = line * WP * C, top * SH + r - PH
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
def _pack_outputs(g, packed, place, size, first, last, geometry):
    """packed[block - first, n, pixel, i] = g[image + n, the i-th filter of the block, begin + pixel] for first <= block < last.

    `place`: image, here, begin, pixels; `size`: numbers of a block. Each group has blocks of TAP_ROWS filters.
    """
    _, (F, _, _), (OH, OW), _, _, _, groups = geometry
    image, here, begin, pixels = place
    filters, few = F // groups, lanes(g)
    flat = g.reshape(g.size)
    for index in range(first, last):
        f, rows = block_of(index, filters)
        for n in range(here):
            to, at = (index - first) * size + n * pixels * TAP_ROWS, ((image + n) * F + f) * OH * OW + begin
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
def _conv2d_grad_w(g, x, zeros, gw, turned, packed, table, spots, sums, tasks, plan, plane, geometry):
    """The images are cut into parts, each with sums of its own, as (f, ky, kx, c); the tasks of a part share the filters.

    `plan`: images and rows of g at a time, parts; `plane` is the size of the padded images, or of a band of so many rows of g.
    """
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups = geometry
    images, band, parts = plan
    HP, WP = plane
    filters, channels, line = F // groups, C // groups, KH * KW * C // groups
    count = _place_taps(spots, table, band, plane, lanes(x), geometry)
    blocks, by_filters = groups * ((filters + TAP_ROWS - 1) // TAP_ROWS), tasks // parts
    for index in prange(tasks):
        task = np.int64(index)  # Numba counts parallel loops in uint64
        part, piece = divmod(task, by_filters)
        _grad_w_task(
            g, x, zeros, own(turned, task, tasks), own(packed, task, tasks), table, spots, own(sums, part, parts), count,
            (part * N // parts, (part + 1) * N // parts), (piece * blocks // by_filters, (piece + 1) * blocks // by_filters),
            (images, band), (HP, WP), ((N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups),
        )  # fmt: skip
    result, size = gw.reshape(gw.size), KH * KW
    for index in prange(F):
        f = np.int64(index)
        for part in range(1, parts):
            more = own(sums, part, parts)
            for i in range(np.uint64(f * line), np.uint64((f + 1) * line)):
                sums[i] += more[i]
        for c in range(0, channels, lanes(x)):
            for tap in range(0, size, lanes(x)):
                to, at = (f * channels + c) * size + tap, f * line + tap * channels + c
                transpose(result, to, size, sums, at, channels, min(lanes(x), size - tap), min(lanes(x), channels - c))


@njit
def _grad_w_task(g, x, zeros, turned, packed, table, spots, sums, count, images_of, blocks_of, plan, plane, geometry):
    """What one task does: the sums over its images for its blocks of filters."""
    (_, C, _, _), (F, KH, KW), (OH, OW), _, _, _, groups = geometry
    images, band = plan
    filters, channels, line = F // groups, C // groups, KH * KW * C // groups
    tiles, room = (count + TAP_VECTORS - 1) // TAP_VECTORS, table.size * TAP_ROWS
    first, last = blocks_of
    more = False
    turned[:] = 0
    for image in range(images_of[0], images_of[1], images):
        here = min(images, images_of[1] - image)
        for top in range(0, OH, band):
            pixels = min(band, OH - top) * OW
            _turn(x, turned, (image, here, top), plane, geometry)
            _pack_outputs(g, packed, (image, here, top * OW, pixels), room, first, last, geometry)
            for start in range(0, here * pixels, STRETCH):
                size = min(STRETCH, here * pixels - start)
                for step in range((last - first) * tiles):
                    block, tile = divmod(step, tiles)
                    f, rows = block_of(first + block, filters)
                    taps(
                        sums, f * line, line, rows, more, zeros, ZERO, packed, block * room + start * TAP_ROWS,
                        turned, f // filters * channels, True, spots, tile * TAP_VECTORS * SPOT, table, start, size,
                    )  # fmt: skip
                more = True


_conv2d_grad_w_parallel = parallel_form(_conv2d_grad_w)


@njit
def _conv2d_grad_w_thin(g, x, gw, planes, table, spots, sums, totals, tasks, plan, geometry):
    """Dot products in the dtype of x, `totals` in float64; parts and tasks as in _conv2d_grad_w.

    `plan`: images at a time, parts, phases of rows and columns, rows and columns of a plane.
    """
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups = geometry
    images, parts, A, B, HP, WP = plan
    offsets(table, (HP * WP, WP), (A, B), geometry)
    totals[:] = 0.0
    by_filters = tasks // parts
    for index in prange(tasks):
        task = np.int64(index)
        part, piece = divmod(task, by_filters)
        _grad_w_thin_task(
            g, x, own(planes, task, tasks), table, own(spots, task, tasks), own(sums, task, tasks), own(totals, part, parts),
            (part * N // parts, (part + 1) * N // parts), (piece * F // by_filters, (piece + 1) * F // by_filters),
            images, ((A, B), (HP, WP)), ((N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups),
        )  # fmt: skip
    result = gw.reshape(gw.size)
    for i in range(gw.size):
        for part in range(1, parts):
            totals[i] += totals[part * gw.size + i]
        result[i] = totals[i]


@njit
def _grad_w_thin_task(g, x, planes, table, spots, sums, totals, images_of, filters_of, images, layout, geometry):
    """What one task does: the totals over its images for its filters."""
    (_, C, H, W), (F, _, _), (OH, OW), stride, padding, _, groups = geometry
    (A, B), (HP, WP) = layout
    places, few, channel = table.size, lanes(x), HP * WP
    images = min(images, images_of[1] - images_of[0])
    planes[images * C * A * B * channel :] = 0
    flat = g.reshape(g.size)
    for image in range(images_of[0], images_of[1], images):
        here = min(images, images_of[1] - image)
        fill(x, planes, ZERO, ((image, here), (A, B)), ((C, H, W), stride, padding), (HP, WP))
        count = place_vectors(spots, few, few, False, (here, OH, OW), (C * A * B * channel, WP), (F * OH * OW, OW, True))
        for f in range(filters_of[0], filters_of[1]):
            at, start = (image * F + f) * OH * OW, f // (F // groups) * (C // groups) * A * B * channel
            for v in range(0, count, STRETCH // 2):
                vectors = min(STRETCH // 2, count - v)
                for t in range(0, places, ROW_DOTS):
                    columns = min(ROW_DOTS, places - t)
                    row_dots(sums, flat, at, planes, start, spots, v * SPOT, vectors, table, t, columns)
                    for j in range(columns):
                        totals[f * places + t + j] += sums[j]


_conv2d_grad_w_thin_parallel = parallel_form(_conv2d_grad_w_thin)


def thin(geometry: Geometry, few: int) -> bool:
    """Whether tiles would be mostly empty: few filters of a group, or few weights beside each other."""
    (_, C, _, _), (F, KH, KW), _, _, _, (_, DW), groups = geometry
    filters, line = F // groups, (KW if DW == 1 else 1) * C // groups
    vectors = -(-line // few) * KH * (1 if DW == 1 else KW)
    room = -(-vectors // TAP_VECTORS) * TAP_VECTORS * few * -(-filters // TAP_ROWS) * TAP_ROWS
    return filters <= FEW or C // groups * KH * KW * filters < ENOUGH * room


def _parts(geometry: Geometry, gw: np.ndarray, tasks: int) -> int:
    """Into how many parts tasks cut the images: as many as they can, if sums are small or filters too few to be shared."""
    by_images = gw.nbytes * tasks <= SUMS or gw.shape[0] < TAP_ROWS * tasks
    return parts_of(tasks, geometry[0][0]) if by_images else 1


def sum_weights_thin(g: np.ndarray, x: np.ndarray, gw: np.ndarray, parallel: bool, geometry: Geometry) -> None:
    (_, C, _, _), (_, KH, KW), out, _, _, _, groups = geometry
    places, few, tasks = C // groups * KH * KW, VECTOR_BYTES // g.dtype.itemsize, get_num_threads() if parallel else 1
    layout, _ = layout_of(geometry, g.itemsize, PLANE_WAVE)
    (A, B), (HP, WP), band, images = layout
    HP, images, parts = out[0] + HP - band, max(1, images if band == out[0] else 1), _parts(geometry, gw, tasks)
    size = -(-(C * A * B * images * HP * WP + WP + KW * geometry[5][1] + SPARE) // few) * few
    (planes,) = split(g.dtype, tasks * size)
    spots = np.empty(tasks * (images * out[0] * -(-out[1] // few) + ROW_VECTORS) * SPOT, np.int64)
    run = _conv2d_grad_w_thin_parallel if parallel else _conv2d_grad_w_thin
    sums, totals = np.empty(tasks * -(-ROW_DOTS // few) * few, g.dtype), np.empty(parts * gw.size, np.float64)
    run(g, x, gw, planes, np.empty(places, np.int64), spots, sums, totals, tasks, (images, parts, A, B, HP, WP), geometry)


def sum_weights(g: np.ndarray, x: np.ndarray, gw: np.ndarray, parallel: bool, geometry: Geometry) -> None:
    (N, C, _, _), (F, KH, KW), (OH, OW), (SH, SW), _, (DH, DW), groups = geometry
    width, reach = (OW - 1) * SW + (KW - 1) * DW + 1, (KH - 1) * DH + 1  # columns and rows that a row of windows reaches
    row = C * SH * width + packed_size(groups, F // groups, OW)
    bands = -(-OH // max(1, (WAVE // g.itemsize - C * reach * width) // row))
    band = -(-OH // bands)
    images = max(1, min(N, WAVE // (band * row * g.itemsize))) if bands == 1 else 1
    few, plane, pixels = VECTOR_BYTES // g.dtype.itemsize, ((band - 1) * SH + reach, width), images * band * OW
    tasks = get_num_threads() if parallel else 1
    parts = _parts(geometry, gw, tasks)
    size = -(-images * C * plane[0] * plane[1] // few) * few
    turned, packed = split(g.dtype, tasks * size, tasks * packed_size(groups, F // groups, pixels))
    spots = np.empty((KH * KW * -(-C // groups // few) + KH * -(-KW * C // few) + TAP_VECTORS) * SPOT, np.int64)
    table, sums = np.empty(pixels, np.int64), np.empty(parts * gw.size, g.dtype)
    run = _conv2d_grad_w_parallel if parallel else _conv2d_grad_w
    run(g, x, np.zeros(TAP_ROWS, g.dtype), gw, turned, packed, table, spots, sums, tasks, (images, band, parts), plane, geometry)
