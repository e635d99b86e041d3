"""Convolution by shifted rows: no im2col.

The padded image is split into SH*SW phases, phase (a, b) holding the pixels (SH*r + a, SW*q + b). In it a filter tap
(ky, kx) is a constant shift: output (oy, ox) reads row oy + ky*DH//SH, column ox + kx*DW//SW. So with all images of a
channel one below the other in one long plane of pitch WP, a tap is one offset, and all three products are inner loops
over long rows: y[f] += w[f, tap] * x[offset(tap) + j]. Columns ox >= OW and rows oy >= OH of that plane mean nothing:
they are dropped on store, or hold zeros where they are read.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from jitgrad.kernels.cpu.fma import add_1, add_8, add_dots_8, dot, eight
from jitgrad.kernels.cpu.layout import contiguous, or_nothing
from jitgrad.kernels.jit import njit, parallel_form, pays, prange, workspace
from jitgrad.shapes import conv_size

BLOCK = 2048  # elements of a plane that one task sums up: they stay in L1
MIN_WORK = 1 << 17  # products from which threads pay

Pair = tuple[int, int]
# (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups, phases in use (A, B), plane of an image (HP, WP)
Geometry = tuple[tuple[int, ...], ...]


@lru_cache(1024)
def _geometry(x_shape: tuple, w_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Geometry:
    F, _, KH, KW = w_shape
    out = tuple([conv_size(x_shape[i + 2], w_shape[i + 2], stride[i], padding[i], dilation[i]) for i in (0, 1)])
    reach = [(w_shape[i + 2] - 1) * dilation[i] // stride[i] for i in (0, 1)]
    plane = (out[0] + reach[0], out[1] + reach[1])
    phases = (stride[0] if KH > 1 else 1, stride[1] if KW > 1 else 1)
    return x_shape, (F, KH, KW), out, stride, padding, dilation, (groups, *phases), plane


def _sizes(geometry: Geometry) -> tuple[int, int, int, int]:
    """Elements of the planes of all inputs and of all outputs, of the offset table, and the products of the convolution."""
    (N, C, _, _), (F, KH, KW), (OH, OW), _, _, _, (groups, A, B), (HP, WP) = geometry
    plane, taps = N * HP * WP, (C // groups) * KH * KW
    return C * A * B * plane + HP * WP, HP * WP + F * plane, taps, N * F * OH * OW * taps


@njit
def _fill_planes(x, planes, geometry):
    """planes[c, a, b, n, r, q] = padded x[n, c, r*SH + a, q*SW + b], with HP*WP zeros behind the last."""
    (N, C, H, W), _, _, (SH, SW), (PH, PW), _, (_, A, B), (HP, WP) = geometry
    for task in prange(C * A * B * N):
        rest, n = divmod(np.int64(task), N)  # Numba counts parallel loops in uint64
        rest, b = divmod(rest, B)
        c, a = divmod(rest, A)
        image = np.int64(task) * HP * WP
        for r in range(HP):
            row = planes[image + r * WP : image + (r + 1) * WP]
            y = r * SH + a - PH
            if 0 <= y < H:
                first = b - PW  # column of x that q = 0 reads
                start = min(WP, max(0, (-first + SW - 1) // SW))
                stop = max(start, min(WP, (W - first + SW - 1) // SW))
                row[:start] = 0
                for q in range(start, stop):
                    row[q] = x[n, c, y, first + q * SW]
                row[stop:] = 0
            else:
                row[:] = 0
    planes[C * A * B * N * HP * WP :] = 0


@njit
def _fill_outputs(g, planes, geometry):
    """planes[f, n, r, q] = g[n, f, r, q], zero outside g, with HP*WP zeros before the first."""
    (N, _, _, _), (F, _, _), (OH, OW), _, _, _, _, (HP, WP) = geometry
    planes[: HP * WP] = 0
    for task in prange(F * N):
        f, n = divmod(np.int64(task), N)
        image = (np.int64(task) + 1) * HP * WP
        for r in range(OH):
            row = planes[image + r * WP : image + (r + 1) * WP]
            for q in range(OW):
                row[q] = g[n, f, r, q]
            row[OW:] = 0
        planes[image + OH * WP : image + HP * WP] = 0


@njit
def _offsets(table, geometry):
    """table[c, ky, kx] = offset of a tap in the planes of one group of channels."""
    (N, C, _, _), (_, KH, KW), _, (SH, SW), _, (DH, DW), (groups, A, B), (HP, WP) = geometry
    t = 0
    for c in range(C // groups):
        for ky in range(KH):
            qy, a = divmod(ky * DH, SH)
            for kx in range(KW):
                qx, b = divmod(kx * DW, SW)
                table[t] = ((c * A + a) * B + b) * N * HP * WP + qy * WP + qx
                t += 1


@njit
def _add_taps(total, n, w, at, x, offsets, shift):
    """total[j] += sum of w[at + k] * x[offsets[k] + shift + j] over all k, for j < n."""
    zero, one, size = np.uint64(0), np.uint64(1), np.uint64(n)
    eights = offsets.size // 8 * 8
    for k in range(0, eights, 8):
        add_8(total, zero, size, w, np.uint64(at + k), one, x, eight(offsets, k, shift))
    for k in range(eights, offsets.size):
        add_1(total, zero, size, w[at + k], x, np.uint64(offsets[k] + shift))


@njit
def _conv2d(x, w, bias, y, planes, table, sums, geometry):
    """`sums`: one row per task, in which a task adds up a block of rows of one output plane."""
    (N, C, _, _), (F, _, _), (OH, OW), _, _, _, (groups, A, B), (HP, WP) = geometry
    _fill_planes(x, planes, geometry)
    _offsets(table, geometry)
    weights = w.reshape(w.size)
    group = (C // groups) * A * B * N * HP * WP
    tall = max(1, BLOCK // WP)
    blocks = (N * HP + tall - 1) // tall
    shares = sums.shape[0]
    for share in prange(shares):
        for task in range(np.int64(share) * F * blocks // shares, (np.int64(share) + 1) * F * blocks // shares):
            f, block = divmod(task, blocks)
            top, bottom = block * tall, min((block + 1) * tall, N * HP)
            total = sums[share]
            total[:] = bias[f] if bias.size else 0
            shift = f // (F // groups) * group + top * WP
            _add_taps(total, (bottom - top) * WP, weights, f * table.size, planes, table, shift)
            for row in range(top, bottom):
                n, oy = divmod(row, HP)
                if oy < OH:
                    start = (row - top) * WP
                    for ox in range(OW):
                        y[n, f, oy, ox] = total[start + ox]


_conv2d_parallel = parallel_form(_conv2d)


@njit
def _flip(w, packed, table, starts, geometry):
    """The taps (f, ky, kx) that reach each phase of the input: their offsets in the planes of outputs, their weights per channel."""
    (N, C, _, _), (F, KH, KW), _, (SH, SW), _, (DH, DW), (groups, A, B), (HP, WP) = geometry
    filters, channels = F // groups, C // groups
    t = 0
    for phase in range(A * B):
        a, b = divmod(phase, B)
        starts[phase] = t
        for f in range(filters):
            for ky in range(KH):
                for kx in range(KW):
                    if ky * DH % SH == a and kx * DW % SW == b:
                        table[t] = (1 + f * N) * HP * WP - ky * DH // SH * WP - kx * DW // SW
                        for c in range(C):
                            packed[c * table.size + t] = w[c // channels * filters + f, c % channels, ky, kx]
                        t += 1
    starts[A * B] = t


@njit
def _conv2d_grad_x(g, w, gx, planes, packed, table, sums, geometry):
    """gx is zero before. Phase (a, b) of gx adds up the taps that reach it; `table` ends with the phases' starts."""
    (N, C, H, W), (F, _, _), _, (SH, SW), (PH, PW), _, (groups, A, B), (HP, WP) = geometry
    taps = table[: packed.size // C]
    starts = table[packed.size // C :]
    _fill_outputs(g, planes, geometry)
    _flip(w, packed, taps, starts, geometry)
    tall = max(1, BLOCK // WP)
    blocks = (N * HP + tall - 1) // tall
    shares, tasks = sums.shape[0], C * A * B * blocks
    for share in prange(shares):
        for task in range(np.int64(share) * tasks // shares, (np.int64(share) + 1) * tasks // shares):
            rest, block = divmod(task, blocks)
            c, phase = divmod(rest, A * B)
            a, b = divmod(phase, B)
            top, bottom = block * tall, min((block + 1) * tall, N * HP)
            total = sums[share]
            total[:] = 0
            first, last = starts[phase], starts[phase + 1]
            shift = (c // (C // groups) * (F // groups) * N * HP + top) * WP
            _add_taps(total, (bottom - top) * WP, packed, c * taps.size + first, planes, taps[first:last], shift)
            for row in range(top, bottom):
                n, r = divmod(row, HP)
                y = r * SH + a - PH
                if 0 <= y < H:
                    for q in range(WP):
                        column = q * SW + b - PW
                        if 0 <= column < W:
                            gx[n, c, y, column] = total[(row - top) * WP + q]


_conv2d_grad_x_parallel = parallel_form(_conv2d_grad_x)


@njit
def _conv2d_grad_w(g, x, gw, outputs, planes, table, sums, geometry):
    """Dot products of long rows: blocks in the dtype of x, their totals in float64, eight taps at once."""
    (N, C, _, _), (F, _, _), _, _, _, _, (groups, A, B), (HP, WP) = geometry
    _fill_outputs(g, outputs, geometry)
    _fill_planes(x, planes, geometry)
    _offsets(table, geometry)
    plane, taps = N * HP * WP, table.size
    result = gw.reshape(gw.size)
    eights = (taps + 7) // 8
    shares = sums.shape[0]
    for share in prange(shares):
        for task in range(np.int64(share) * F * eights // shares, (np.int64(share) + 1) * F * eights // shares):
            f, k = task // eights, task % eights * 8
            count = min(8, taps - k)
            totals = sums[share]
            totals[:] = 0.0
            group = f // (F // groups) * (C // groups) * A * B * plane
            for start in range(0, plane, BLOCK):
                size, row = np.uint64(min(BLOCK, plane - start)), np.uint64(HP * WP + f * plane + start)
                if count == 8:
                    add_dots_8(totals, outputs, row, size, planes, eight(table, k, group + start))
                else:
                    for i in range(count):
                        totals[i] += dot(size, outputs, row, planes, np.uint64(table[k + i] + group + start))
            for i in range(count):
                result[f * taps + k + i] = totals[i]


_conv2d_grad_w_parallel = parallel_form(_conv2d_grad_w)


def _split(dtype: np.dtype, first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays that share the workspace."""
    buffer = workspace(first + second, dtype)
    return buffer[:first], buffer[first : first + second]


def _sums(geometry: Geometry, parallel: bool, dtype: np.dtype) -> np.ndarray:
    """A row of sums for each share of the work: one for the serial form, enough to go round for the parallel one."""
    WP = geometry[-1][1]
    return np.empty((64 if parallel else 1, max(1, BLOCK // WP) * WP), dtype)


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """y[n, f, oy, ox] = b[f] + sum_{c, ky, kx} x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] * w[f, c, ky, kx]."""
    geometry = _geometry(x.shape, w.shape, stride, padding, dilation, groups)
    inputs, _, taps, work = _sizes(geometry)
    y = np.empty((x.shape[0], w.shape[0], *geometry[2]), x.dtype)
    parallel = pays(work, MIN_WORK)
    run = _conv2d_parallel if parallel else _conv2d
    planes, table = workspace(inputs, x.dtype), np.empty(taps, np.int64)
    run(contiguous(x), contiguous(w), or_nothing(b, x.dtype), y, planes, table, _sums(geometry, parallel, x.dtype), geometry)
    return y


def conv2d_grad_x(g: np.ndarray, w: np.ndarray, x_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """gx[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] += g[n, f, oy, ox] * w[f, c, ky, kx], over all f, ky, kx."""
    geometry = _geometry(x_shape, w.shape, stride, padding, dilation, groups)
    _, outputs, _, work = _sizes(geometry)
    _, A, B = geometry[6]
    gx = np.zeros(x_shape, g.dtype)
    if not gx.size:
        return gx
    parallel = pays(work, MIN_WORK)
    run = _conv2d_grad_x_parallel if parallel else _conv2d_grad_x
    planes, packed = _split(g.dtype, outputs, w.size)
    table = np.empty(w.size // x_shape[1] + A * B + 1, np.int64)
    run(contiguous(g), contiguous(w), gx, planes, packed, table, _sums(geometry, parallel, g.dtype), geometry)
    return gx


def conv2d_grad_w(g: np.ndarray, x: np.ndarray, w_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """gw[f, c, ky, kx] = sum_{n, oy, ox} g[n, f, oy, ox] * x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW]."""
    geometry = _geometry(x.shape, w_shape, stride, padding, dilation, groups)
    inputs, outputs, taps, work = _sizes(geometry)
    gw = np.empty(w_shape, g.dtype)
    parallel = pays(work, MIN_WORK)
    run = _conv2d_grad_w_parallel if parallel else _conv2d_grad_w
    out_planes, planes = _split(g.dtype, outputs, inputs)
    table, sums = np.empty(taps, np.int64), np.empty((64 if parallel else 1, 8), np.float64)
    run(contiguous(g), contiguous(x), gw, out_planes, planes, table, sums, geometry)
    return gw
