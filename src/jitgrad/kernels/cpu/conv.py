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

from jitgrad.kernels.cpu.conv_depthwise import add_taps
from jitgrad.kernels.cpu.layout import contiguous, or_nothing
from jitgrad.kernels.cpu.matmul import summed
from jitgrad.kernels.jit import njit, parallel_form, pays, prange, workspace
from jitgrad.kernels.simd import TAP_DOT_COLUMNS, TAP_DOT_ROWS, TAP_ROWS, TAP_VECTORS, VECTOR_BYTES, add_row, low_tile, tap_dots, taps
from jitgrad.shapes import conv_size

CHUNK = 480  # positions that one task adds up for TAP_ROWS filters: a multiple of every tile's width
DEPTH = 256  # taps at a time: the weights of a tile stay in L1
TURNED_MIN = 24
BLOCK = 1024  # positions at a time in dot products, whose totals are float64
WAVE = 1 << 20  # bytes of planes at a time
FEW = 2  # filters of a group up to which a tile would be mostly empty
MIN_WORK = 1 << 17  # products from which threads pay
SHARES = 64  # pieces that threads take

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
def _fill(x, planes, lead, count, source, layout):
    """planes[lead + (c, a, b, n, r, q)] = padded x[first + n, c, r*SH + a, q*SW + b], for n < here of `images` places."""
    (first, here, images), (A, B) = count
    (C, H, W), (SH, SW), (PH, PW) = source
    HP, WP = layout
    flat = x.reshape(x.size)
    for task in prange(C * A * B * here):
        rest, n = divmod(np.int64(task), here)  # Numba counts parallel loops in uint64
        channel, phase = divmod(rest, A * B)
        a, b = divmod(phase, B)
        image = lead + (rest * images + n) * HP * WP
        left = b - PW  # column of x that q = 0 reads
        start = min(WP, max(0, (SW - 1 - left) // SW))
        stop = max(start, min(WP, (W - left + SW - 1) // SW))
        for r in range(HP):
            y = r * SH + a - PH
            to = np.uint64(image + r * WP)
            if 0 <= y < H:
                at = np.uint64((((first + n) * C + channel) * H + y) * W + left + start * SW)
                for q in range(np.uint64(start)):
                    planes[to + q] = 0
                if SW == 1:
                    add_row(planes, to + np.uint64(start), flat, at, stop - start, 0.0)
                else:
                    for q in range(np.uint64(stop - start)):
                        planes[to + np.uint64(start) + q] = flat[at + q * np.uint64(SW)]
                for q in range(np.uint64(stop), np.uint64(WP)):
                    planes[to + q] = 0
            else:
                for q in range(np.uint64(WP)):
                    planes[to + q] = 0


@njit
def _offsets(table, images, geometry):
    """table[c, ky, kx] = offset of a tap in the planes of one group of channels."""
    (N, C, _, _), (_, KH, KW), _, (SH, SW), _, (DH, DW), (groups, A, B), (HP, WP) = geometry
    t = 0
    for c in range(C // groups):
        for ky in range(KH):
            qy, a = divmod(ky * DH, SH)
            for kx in range(KW):
                qx, b = divmod(kx * DW, SW)
                table[t] = ((c * A + a) * B + b) * images * HP * WP + qy * WP + qx
                t += 1


@njit
def _store(out, sums, at, bias, place, to, window, layout):
    """The pixels among the positions of a chunk; out[to] is the first pixel of the first image."""
    start, stop = place
    (top, bottom, left, right), (SH, SW, y0, x0) = window
    (F, H, W), (HP, WP) = layout
    line = start // WP
    n, r = divmod(line, HP)
    at += line * WP - start
    for line in range(line, (stop + WP - 1) // WP):
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
def _products(planes, table, weights, bias, out, sums, count, layout):
    """out[n, f, pixel] = bias[f] + sum over taps first <= t < last of weights[f, t] planes[table[t] + position]."""
    (image, here, images, lead), (first, last, every), (groups, filters, pitch), window = count
    shape, (HP, WP) = layout
    top, bottom, left, right = window[0]
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
                to = ((image + n) * shape[0] + row) * shape[1] * shape[2]
                _store(flat, mine, i * CHUNK, b, (start, start + size), to, window, layout)


@njit
def _pack(w, packed, groups):
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
def _conv2d(x, w, bias, y, planes, packed, table, sums, geometry, images):
    """`sums`: one row per share of the work, for the chunk in hand. Without `planes` images are read where they lie, one at a time."""
    (N, C, H, W), (F, _, _), (OH, OW), stride, padding, _, (groups, A, B), (HP, WP) = geometry
    _offsets(table, images, geometry)
    _pack(w, packed, groups)
    parts = (groups, F // groups, (C // groups) * A * B * images * HP * WP)
    window = ((0, OH, 0, OW), (1, 1, 0, 0))
    flat = x.reshape(x.size)
    planes[min(planes.size, C * A * B * images * HP * WP) :] = 0
    for image in range(0, N, images):
        here = min(images, N - image)
        if planes.size:
            _fill(x, planes, 0, ((image, here, images), (A, B)), ((C, H, W), stride, padding), (HP, WP))
        lead = 0 if planes.size else image * C * H * W
        count = ((image, here, images, lead), (0, table.size, table.size), parts, window)
        _products(planes if planes.size else flat, table, packed, bias, y, sums, count, ((F, OH, OW), (HP, WP)))


_conv2d_parallel = parallel_form(_conv2d)


@njit
def _flip(w, packed, table, starts, images, geometry):
    """The taps (f, ky, kx) that reach each phase of the input: their offsets in the planes of outputs, their weights per channel."""
    (N, C, H, W), (F, KH, KW), _, (SH, SW), _, (DH, DW), (groups, A, B), (HP, WP) = geometry
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
def _conv2d_grad_x(g, w, gx, planes, packed, table, sums, geometry, images):
    """gx is zero before. Phase (a, b) of gx adds up the taps that reach it; `table` ends with the phases' starts.

    Without `planes` images are read where they lie, one at a time.
    """
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), _, (groups, A, B), (HP, WP) = geometry
    places = F // groups * KH * KW
    offsets, starts = table[:places], table[places:]
    lead = max(0, planes.size - F * images * HP * WP)  # zeros, which the first rows reach back into
    _flip(w, packed, offsets, starts, images, geometry)
    planes[:lead] = 0
    none, flat = packed[:0], g.reshape(g.size)
    parts = (groups, C // groups, F // groups * images * HP * WP)
    for image in range(0, N, images):
        here = min(images, N - image)
        if planes.size:
            _fill(g, planes, lead, ((image, here, images), (1, 1)), ((F, OH, OW), (1, 1), (0, 0)), (HP, WP))
        for phase in range(A * B):
            a, b = divmod(phase, B)
            top, left = max(0, (PH - a + SH - 1) // SH), max(0, (PW - b + SW - 1) // SW)
            bottom, right = min(HP, (H + PH - a + SH - 1) // SH), min(WP, (W + PW - b + SW - 1) // SW)
            if top < bottom and left < right:
                count = (
                    (image, here, images, lead if planes.size else image * F * OH * OW),
                    (starts[phase], starts[phase + 1], places), parts, ((top, bottom, left, right), (SH, SW, a - PH, b - PW)),
                )  # fmt: skip
                _products(planes if planes.size else flat, offsets, packed, none, gx, sums, count, ((C, H, W), (HP, WP)))


_conv2d_grad_x_parallel = parallel_form(_conv2d_grad_x)


@njit
def _turn(planes, turned, channels, size):
    """turned[position, c] = planes[c, position]: what pixels hold in all channels lies side by side."""
    for block in prange((size + 15) // 16):
        first = np.int64(block) * 16
        for c in range(channels):
            at, to = np.uint64(c * size + first), np.uint64(first * channels + c)
            for i in range(np.uint64(min(16, size - first))):
                turned[to + i * np.uint64(channels)] = planes[at + i]


@njit
def _conv2d_grad_w_turned(g, x, gw, outputs, planes, turned, sums, geometry, images):
    """Where stride and dilation are 1: for each ky, all (kx, c) are one row of the turned planes. `sums` is gw as (groups, f, ky, kx, c)."""
    (N, C, H, W), (F, KH, KW), (OH, OW), stride, padding, _, (groups, _, _), (HP, WP) = geometry
    filters, channels = F // groups, C // groups
    size = images * HP * WP
    width = TAP_VECTORS * VECTOR_BYTES // planes.itemsize
    line = KW * channels
    planes[C * size :] = 0
    turned[C * size :] = 0
    blocks, pieces = (filters + TAP_ROWS - 1) // TAP_ROWS, (line + width - 1) // width
    for image in range(0, N, images):
        here = min(images, N - image)
        _fill(g, outputs, 0, ((image, here, images), (1, 1)), ((F, OH, OW), (1, 1), (0, 0)), (HP, WP))
        _fill(x, planes, 0, ((image, here, images), (1, 1)), ((C, H, W), stride, padding), (HP, WP))
        for group in range(groups):
            _turn(planes[group * channels * size :], turned[group * channels * size :], channels, size)
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
    (N, C, H, W), (F, KH, KW), (OH, OW), stride, padding, _, (groups, A, B), (HP, WP) = geometry
    filters, places = F // groups, table.size
    _offsets(table, images, geometry)
    planes[C * A * B * images * HP * WP :] = 0
    totals[:] = 0.0
    blocks = (filters + TAP_DOT_ROWS - 1) // TAP_DOT_ROWS
    pieces = 1 if groups * blocks >= SHARES else min(SHARES // (groups * blocks), (places + TAP_DOT_COLUMNS - 1) // TAP_DOT_COLUMNS)
    share = ((places + pieces - 1) // pieces + TAP_DOT_COLUMNS - 1) // TAP_DOT_COLUMNS * TAP_DOT_COLUMNS
    pitch = (C // groups) * A * B * images * HP * WP
    for image in range(0, N, images):
        here = min(images, N - image)
        _fill(g, outputs, 0, ((image, here, images), (1, 1)), ((F, OH, OW), (1, 1), (0, 0)), (HP, WP))
        _fill(x, planes, 0, ((image, here, images), (A, B)), ((C, H, W), stride, padding), (HP, WP))
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
    (N, C, _, _), (F, KH, KW), _, _, _, _, (_, A, B), (HP, WP) = geometry
    gx = np.zeros(x_shape, g.dtype)
    if not gx.size:
        return gx
    parallel = pays(g.size * (w.size // F), MIN_WORK)
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
        return summed(contiguous(g).reshape(N, F, -1), contiguous(x).reshape(N, C, -1)).reshape(w_shape)
    gw = np.empty(w_shape, g.dtype)
    places = C // groups * KH * KW
    parallel = pays(g.size * places, MIN_WORK)
    images = _wave(geometry, C * A * B + F, x.itemsize)
    if stride == dilation == (1, 1) and C // groups * KW >= TURNED_MIN:
        size = images * HP * WP
        slack = _slack(geometry)
        outputs, planes, turned = _split(g.dtype, F * size, C * size + slack, C * (size + slack))
        run = _conv2d_grad_w_turned_parallel if parallel else _conv2d_grad_w_turned
        run(contiguous(g), contiguous(x), gw, outputs, planes, turned, np.empty(gw.size, g.dtype), geometry, images)
        return gw
    outputs, planes = _split(g.dtype, F * images * HP * WP, C * A * B * images * HP * WP + _slack(geometry))
    run = _conv2d_grad_w_parallel if parallel else _conv2d_grad_w
    table, totals = np.empty(places, np.int64), np.empty(gw.size, np.float64)
    run(contiguous(g), contiguous(x), gw, outputs, planes, table, totals, geometry, images)
    return gw
