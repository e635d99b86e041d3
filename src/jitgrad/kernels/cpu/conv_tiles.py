"""Sums over taps of convolutions, by the tiles of simd_conv.py: weights packed for them, the vectors of pixels, the products.

Pixels are counted in vectors, in one of two ways. Loose: each row of an image has vectors of its own, the last of them partly empty,
which read the planes where they lie. Dense: vectors follow each other through rows and images; see conv_panels.py.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.jit import njit, prange
from jitgrad.kernels.simd_code import lanes
from jitgrad.kernels.simd_conv import ROW_VECTORS, SPOT, TAP_ROWS, TAP_VECTORS, copy_row, deal_seconds, row_taps, taps, transpose

# As literals they would have types of their own, and what is called with them a form for each.
ZERO, ONE = np.int64(0), np.int64(1)
CHUNK = 10  # tiles of pixels at a time, of all filters
FEW = 2  # filters of a group up to which a tile would be mostly empty


@njit(inline=True)
def cut(piece_of, rows, filters, groups):
    """The rows, and the blocks of filters, of a piece of images, (piece, pieces): rows are shared where there are enough."""
    piece, pieces = piece_of
    blocks = groups * ((filters + TAP_ROWS - 1) // TAP_ROWS)
    if rows >= pieces:
        return (piece * rows // pieces, (piece + 1) * rows // pieces), (ZERO, blocks)
    return (ZERO, rows), (piece * blocks // pieces, (piece + 1) * blocks // pieces)


@njit(inline=True)
def block_of(index, filters):
    """The first filter of a block, and how many it has; each group has blocks of TAP_ROWS filters."""
    group, block = divmod(index, (filters + TAP_ROWS - 1) // TAP_ROWS)
    return group * filters + block * TAP_ROWS, min(TAP_ROWS, filters - block * TAP_ROWS)


@njit
def pack(w, packed, groups):
    """packed[group, block, t, i] = w[block*TAP_ROWS + i of the group, t]; what lies behind the last filter means nothing."""
    filters, K = w.shape[0] // groups, w.size // w.shape[0]
    flat = w.reshape(w.size)
    blocks = (filters + TAP_ROWS - 1) // TAP_ROWS
    for task in prange(groups * blocks):
        group, block = divmod(np.int64(task), blocks)  # Numba counts parallel loops in uint64
        at = (group * filters + block * TAP_ROWS) * K
        rows = min(TAP_ROWS, filters - block * TAP_ROWS)
        for t in range(0, K, lanes(w)):
            to = (np.int64(task) * K + t) * TAP_ROWS
            transpose(packed, to, TAP_ROWS, flat, at + t, K, rows, min(lanes(w), K - t))


@njit
def pack_flipped(w, packed, groups):
    """packed[group, block, t, i] = the weight of channel block*TAP_ROWS + i of the group for t = (f, -ky, -kx)."""
    F, channels = w.shape[:2]
    filters, size = F // groups, w.shape[2] * w.shape[3]
    flat = w.reshape(w.size)
    blocks = (channels + TAP_ROWS - 1) // TAP_ROWS
    for task in prange(F):
        group, f = divmod(np.int64(task), filters)
        for block in range(blocks):  # the weights of a filter are read in one run
            at = (np.int64(task) * channels + block * TAP_ROWS) * size
            to = (((group * blocks + block) * filters + f) * size + size - 1) * TAP_ROWS
            rows = min(TAP_ROWS, channels - block * TAP_ROWS)
            for tap in range(0, size, lanes(w)):
                transpose(packed, to - tap * TAP_ROWS, -TAP_ROWS, flat, at + tap, size, rows, min(lanes(w), size - tap))


@njit
def flip(w, packed, table, starts, steps, geometry, phases):
    """The taps (f, ky, kx) that reach each phase of the input: their offsets in the planes of outputs, their weights per channel.

    `steps` are the distances of filters and rows in the planes.
    """
    _, (F, KH, KW), _, (SH, SW), _, (DH, DW), groups = geometry
    A, B = phases
    filters, channels, size = F // groups, w.shape[1], KH * KW
    blocks = (channels + TAP_ROWS - 1) // TAP_ROWS
    t = 0
    for phase in range(A * B):
        starts[phase] = t
        for f in range(filters):
            for tap in range(size):
                ky, kx = divmod(tap, KW)
                if ky * DH % SH * B + kx * DW % SW == phase:
                    table[t] = f * steps[0] - ky * DH // SH * steps[1] - kx * DW // SW
                    t += 1
    starts[A * B] = t
    flat = w.reshape(w.size)
    for task in prange(groups * blocks):
        group, block = divmod(np.int64(task), blocks)
        rows = min(TAP_ROWS, channels - block * TAP_ROWS)
        to = np.uint64(np.int64(task) * t * TAP_ROWS)
        for phase in range(A * B):
            for f in range(filters):
                at = np.uint64(((group * filters + f) * channels + block * TAP_ROWS) * size)
                for tap in range(size):
                    ky, kx = divmod(tap, KW)
                    if ky * DH % SH * B + kx * DW % SW == phase:
                        for i in range(np.uint64(rows)):
                            packed[to + i] = flat[at + i * np.uint64(size) + np.uint64(tap)]
                        to += np.uint64(TAP_ROWS)


@njit
def place_vectors(spots, few, columns, dense, domain, source, target):
    """The (from, to, width) of all vectors of so many images, rows and columns, and some of no width behind them; how many they are.

    `few` numbers are in a vector, `columns` in a tile, of which dense vectors are read from a panel. `source` and `target` are the
    distances of images and rows; target ends with whether tiles are written where they belong, else on a page.
    """
    (here, R, Q), (image, row), (out_image, out_row, direct) = domain, source, target
    line = Q if dense else (Q + few - 1) // few * few  # positions of a row
    count = (here * R * line + few - 1) // few
    for v in range(count):
        (n, r), q = divmod(v * few // line, R), v * few % line
        column = v * few % columns
        s = v * SPOT
        spots[s] = column if dense else n * image + r * row + q
        spots[s + 1] = n * out_image + r * out_row + q if direct else column
        spots[s + 2] = min(few, here * R * Q - v * few if dense else Q - q)
    for s in range(count * SPOT, min(count + ROW_VECTORS, spots.size // SPOT) * SPOT):
        spots[s] = 0
    return count


@njit
def deal(out, base, pitch, rows, page, at, columns, tile, line, more, domain, target):
    """Writes, or adds, what a tile has put on its page to where it belongs."""
    (here, R, Q), (out_image, out_row, step) = domain, target
    if line == Q and out_row == Q and step == 1:  # rows follow each other, as the pixels do
        R, Q, line = 1, R * Q, R * Q
    p, stop = tile * columns, min((tile + 1) * columns, here * R * line)
    while p < stop:
        (n, r), q = divmod(p // line, R), p % line
        run = min(line - q, stop - p)
        size = min(run, Q - q)
        to, source = base + n * out_image + r * out_row + q * step, at + p - tile * columns
        for i in range(rows):
            if step == 1:
                copy_row(out, to + i * pitch, page, source + i * columns, size, more)
            elif step == 2:
                deal_seconds(out, to + i * pitch, page, source + i * columns, size, more)
            else:
                first = to + i * pitch
                for j in range(size):
                    before = out[first + j * step] if more else out.dtype.type(0)
                    out[first + j * step] = page[np.uint64(source + i * columns + j)] + before
        p += run


@njit
def _tile(out, to, pitch, rows, how, bias, row, a, data, spots, s, offsets, place, K):
    """The sums of a tile of filters and vectors, over K taps; for few filters one filter at a time."""
    (at, k), (thin, loose, more), (packed, weights) = place, how, a
    if thin:
        for i in range(rows):
            row_taps(out, to + i * pitch, pitch, 1, more, bias, row + i, packed, weights + i, data, at, loose, spots, s, offsets, k, K)
    else:
        taps(out, to, pitch, rows, more, bias, row, packed, weights, data, at, loose, spots, s, offsets, k, K)


@njit
def products(planes, table, packed, bias, out, work, spots, numbers, domain, source, target):
    """out[n, f, pixel] = bias[f] + sum over taps first <= t < last of packed[f, t] planes[table[t] + place of the pixel].

    `numbers`: starts of the planes and of out; taps first, last, all, at a time; the range of blocks of filters, filters and planes
    of a group, numbers of a channel of out; whether vectors may be read whole. `domain`, `source`, `target`, `spots`: see
    place_vectors. `work` has room for the page of a tile. Behind the bias are TAP_ROWS zeros.
    """
    (shift, begin), (first, last, every, depth), ((start, stop), filters, pitch, channel), loose = numbers
    thin, few = filters <= FEW, lanes(planes)
    columns = (ROW_VECTORS if thin else TAP_VECTORS) * few
    (_, _, Q), (out_image, out_row, out_step) = domain, target
    direct = out_step == 1  # pixels that follow each other in out are written at once
    count = place_vectors(spots, few, columns, False, domain, source, (out_image, out_row, direct))
    tiles = (count * few + columns - 1) // columns
    chunks = (tiles + CHUNK - 1) // CHUNK
    line = (Q + few - 1) // few * few
    for step in range(chunks * (stop - start)):
        chunk, number = divmod(step, stop - start)
        f, rows = block_of(start + number, filters)
        to = begin + f * channel
        for k in range(first, max(last, first + 1), depth):
            size, place = min(depth, last - k), (shift + f // filters * pitch, k)
            a = (packed, ((start + number) * every + k) * TAP_ROWS)
            for tile in range(chunk * tiles // chunks, (chunk + 1) * tiles // chunks):
                s = tile * (columns // few) * SPOT
                if direct:
                    _tile(out, to, channel, rows, (thin, loose, k > first), bias, f, a, planes, spots, s, table, place, size)
                else:  # the zeros behind the bias where it has been added
                    b = f if k == first else bias.size - TAP_ROWS
                    _tile(work, ZERO, columns, rows, (thin, loose, False), bias, b, a, planes, spots, s, table, place, size)
                    deal(out, to, channel, rows, work, ZERO, columns, tile, line, k > first, domain, target)
