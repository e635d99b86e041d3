"""Sums over taps of convolutions, by the tiles of simd.py: weights packed for them, the products, and their pixels stored."""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.fma import add_taps
from jitgrad.kernels.jit import njit, prange
from jitgrad.kernels.simd_code import VECTOR_BYTES
from jitgrad.kernels.simd_conv import TAP_ROWS, TAP_VECTORS, add_row, taps

CHUNK = 480  # positions that one task adds up for TAP_ROWS filters: a multiple of every tile's width
DEPTH = 128  # taps at a time: their weights stay in L1, and the pages of their channels in the TLB
FEW = 2  # filters of a group up to which a tile would be mostly empty


@njit
def pack(w, packed, groups):
    """packed[group, block, t, i] = w[block*TAP_ROWS + i of the group, t]; what lies behind the last filter means nothing."""
    F = w.shape[0]
    filters, K = F // groups, w.size // F
    flat = w.reshape(w.size)
    blocks = (filters + TAP_ROWS - 1) // TAP_ROWS
    for block in prange(groups * blocks):
        group, of = divmod(np.int64(block), blocks)
        to, at = np.uint64(np.int64(block) * K * TAP_ROWS), np.uint64((group * filters + of * TAP_ROWS) * K)
        rows = np.uint64(min(TAP_ROWS, filters - of * TAP_ROWS))
        for t in range(np.uint64(K)):
            for i in range(rows):
                packed[to + t * np.uint64(TAP_ROWS) + i] = flat[at + i * np.uint64(K) + t]


@njit
def flip(w, packed, table, starts, images, geometry):
    """The taps (f, ky, kx) that reach each phase of the input: their offsets in the planes of outputs, their weights per channel."""
    (_, C, _, _), (F, KH, KW), _, (SH, SW), _, (DH, DW), (groups, A, B), (HP, WP) = geometry
    filters, channels = F // groups, C // groups
    blocks, size = (channels + TAP_ROWS - 1) // TAP_ROWS, KH * KW
    place = np.empty(table.size, np.int64)  # of a tap in the weights of one channel
    t = 0
    for phase in range(A * B):
        a, b = divmod(phase, B)
        starts[phase] = t
        for f in range(filters):
            for ky in range(KH):
                for kx in range(KW):
                    if ky * DH % SH == a and kx * DW % SW == b:
                        table[t] = f * images * HP * WP - ky * DH // SH * WP - kx * DW // SW
                        place[t] = f * channels * size + ky * KW + kx
                        t += 1
    starts[A * B] = t
    flat = w.reshape(w.size)
    for block in prange(groups * blocks):
        group, of = divmod(np.int64(block), blocks)
        to = np.uint64(np.int64(block) * table.size * TAP_ROWS)
        at = group * filters * channels * size + of * TAP_ROWS * size
        rows = np.uint64(min(TAP_ROWS, channels - of * TAP_ROWS))
        for t in range(table.size):
            first, line = np.uint64(at + place[t]), to + np.uint64(t * TAP_ROWS)
            for i in range(rows):
                packed[line + i] = flat[first + i * np.uint64(size)]


@njit
def _store(out, sums, at, bias, place, to, window, layout):
    """The pixels among the positions of a chunk; out[to] is the first pixel of the first image."""
    start, stop = place
    (top, bottom, left, right), (SH, SW, y0, x0) = window
    (F, H, W), (HP, WP) = layout
    n, r = divmod(start // WP, HP)
    at += start // WP * WP - start
    for line in range(start // WP, (stop + WP - 1) // WP):
        if top <= r < bottom:
            low, high = max(left, start - line * WP), min(right, stop - line * WP)
            first = to + n * F * H * W + (r * SH + y0) * W + x0
            if SW == 1:
                if low < high:
                    add_row(out, first + low, sums, at + low, high - low, bias)
            else:
                for q in range(low, high):
                    out[first + q * SW] = sums[np.uint64(at + q)] + bias
        at += WP
        r += 1
        if r == HP:
            r = 0
            n += 1


@njit
def products(planes, table, weights, bias, out, sums, count, layout):
    """out[n, f, pixel] = bias[f] + sum over taps first <= t < last of weights[f, t] planes[table[t] + position].

    `count`: first image, images and start of the planes; taps first, last, all; groups, filters and planes of a group; the window
    of a plane that holds pixels and how they map to `out`. `layout`: (filters, rows, columns) of out, (HP, WP) of a plane.
    """
    (image, here, lead), (first, last, every), (groups, filters, pitch), window = count
    # All as numbers: parallel loops take no tuples from outside.
    (OF, OH, OW), (HP, WP) = layout
    (top, bottom, left, right), (SH, SW, y0, x0) = window
    begin, end = top * WP + left, (bottom - 1) * WP + right  # positions from the first pixel of an image to its last
    width = TAP_VECTORS * VECTOR_BYTES // planes.itemsize
    # Small images follow each other in one run of positions, if that makes fewer tiles than a run for each.
    alone = here * ((end - begin + width - 1) // width)
    span = here if ((here - 1) * HP * WP + end - begin + width - 1) // width < alone else 1
    run = (span - 1) * HP * WP + end - begin
    chunks = (run + CHUNK - 1) // CHUNK
    blocks = (filters + TAP_ROWS - 1) // TAP_ROWS
    flat = out.reshape(out.size)
    shares = sums.shape[0]
    tasks = here // span * chunks * groups * blocks
    for share in prange(shares):
        mine = sums[share]
        for task in range(np.int64(share) * tasks // shares, (np.int64(share) + 1) * tasks // shares):
            rest, block = divmod(task, groups * blocks)
            n, chunk = divmod(rest, chunks)
            group, block = divmod(block, blocks)
            rows = min(TAP_ROWS, filters - block * TAP_ROWS)
            start = begin + chunk * CHUNK
            size = min(CHUNK, begin + run - start)
            at = lead + group * pitch + n * HP * WP + start
            w = (group * blocks + block) * every * TAP_ROWS
            if filters <= FEW:
                for i in range(rows):
                    add_taps(mine, i * CHUNK, size, weights, w + first * TAP_ROWS + i, TAP_ROWS, planes, table, first, last, at)
            else:
                for t in range(first, max(last, first + 1), DEPTH):
                    depth = min(DEPTH, last - t)
                    for j in range(0, size, width):
                        columns = min(width, size - j)
                        taps(mine, j, CHUNK, rows, columns, t > first, weights, w + t * TAP_ROWS, planes, at + j, table, t, depth)
            for i in range(rows):
                row = group * filters + block * TAP_ROWS + i
                b = bias[row] if bias.size else bias.dtype.type(0)
                to = ((image + n) * OF + row) * OH * OW
                inside = ((top, bottom, left, right), (SH, SW, y0, x0))
                _store(flat, mine, i * CHUNK, b, (start, start + size), to, inside, ((OF, OH, OW), (HP, WP)))
