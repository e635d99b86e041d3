"""Convolution as products with shifted rows: no im2col of an image.

The padded images are split into SH*SW phases, phase (a, b) holding the pixels (SH*r + a, SW*q + b). In it a filter tap
(ky, kx) is a constant shift: output (oy, ox) reads row oy + ky*DH//SH, column ox + kx*DW//SW. So with the rows of a plane, and
the planes of all images, one behind the other, a tap is one offset into a long row, and the products are made of the tiles of
simd_conv.py: y[f, pixel] = sum_t w[f, t] x[offset(t) + place of the pixel], and likewise the gradient of x. The gradient of w
is in conv_weights.py.

Where the stride is 1, the padding on the right of a row is the padding on the left of the next. Images are taken in waves, large
ones in bands of rows, whose planes stay in the cache. How all is cut is decided in conv_plan.py.

Words: a plane is one phase of a channel, padded; the table holds the offsets of the taps, spots tell of vectors of pixels, work
holds the pages on which tiles are put that cannot be written where they belong. Tasks, parts and pieces are those of tasks.py. The
geometry is taken apart and put together again before a task because Numba passes no tuples to threads.
Convolutions of single pixels (conv_pixels.py) and depthwise ones (conv_depthwise.py) need none of this.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.conv_depthwise import depthwise, planes, planes_grad_w, planes_grad_x
from jitgrad.kernels.cpu.conv_mend import finite, mend_inputs, mend_outputs, mend_weights
from jitgrad.kernels.cpu.conv_panels import products_of_panels
from jitgrad.kernels.cpu.conv_pixels import of_pixels, pixel_products, sum_pixels
from jitgrad.kernels.cpu.conv_plan import DEPTH, SPARE, WAVE, Geometry, Pair, flipped_geometry, geometry_of, packed_size, plan_of, split
from jitgrad.kernels.cpu.conv_planes import fill, offsets
from jitgrad.kernels.cpu.conv_tiles import FEW, ONE, ZERO, cut, flip, pack, pack_flipped, products
from jitgrad.kernels.cpu.conv_weights import sum_weights, sum_weights_thin, thin
from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.cpu.tasks import own, parts_of
from jitgrad.kernels.jit import get_num_threads, njit, parallel_form, pays, prange
from jitgrad.kernels.simd_code import VECTOR_BYTES, lanes
from jitgrad.kernels.simd_conv import ROW_VECTORS, SPOT, TAP_ROWS, TAP_VECTORS
from jitgrad.shapes import conv_size

MIN_WORK = 1 << 17  # products from which threads pay


@njit
def _count(lines, w):
    """Where the rows of a panel begin."""
    for t in range(lines.size):
        lines[t] = t * TAP_VECTORS * lanes(w)


@njit
def _correlate(x, w, bias, y, planes, packed, table, spots, work, tasks, plan, layout, geometry):
    """y = bias + x correlated with w, or for gradients of x with w flipped.

    `planes`, `spots` and `work` are for all tasks. `plan`: taps at a time, whether panels are gathered, whether w is flipped, parts.
    """
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups = geometry
    depth, dense, flipped, parts = plan
    (A, B), (HP, WP), band, images = layout
    places = table.size - depth
    lines, table = table[places:], table[:places]
    offsets(table, (HP * WP, WP) if planes.size else (H * W, W), (A, B), geometry)
    if flipped:
        pack_flipped(w, packed, groups)
    else:
        pack(w, packed, groups)
    _count(lines, w)
    pieces = tasks // parts
    for index in prange(tasks):
        task = np.int64(index)  # Numba counts parallel loops in uint64
        part, piece = divmod(task, pieces)
        _correlate_task(
            x, bias, y, packed, table, lines, (own(planes, task, tasks), own(spots, task, tasks), own(work, task, tasks)),
            (part * N // parts, (part + 1) * N // parts), (piece, pieces), (depth, dense), ((A, B), (HP, WP), band, images),
            ((N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups),
        )  # fmt: skip


@njit
def _correlate_task(x, bias, y, packed, table, lines, memory, images_of, piece_of, plan, layout, geometry):
    """What one task does: the planes hold the rows that a band of y reads. Without planes images are read where they lie."""
    (_, C, H, W), (F, _, _), (OH, OW), (SH, SW), (PH, PW), _, groups = geometry
    planes, spots, work = memory
    depth, dense = plan
    (A, B), (HP, WP), band, images = layout
    rows_of, blocks = cut(piece_of, OH, F // groups, groups)
    source, channel = ((C * A * B * HP * WP, WP), HP * WP) if planes.size else ((C * H * W, W), H * W)
    images = min(images, images_of[1] - images_of[0])
    planes[min(planes.size, images * C * A * B * channel) :] = 0
    data = planes if planes.size else x.reshape(x.size)
    for image in range(images_of[0], images_of[1], images):
        here = min(images, images_of[1] - image)
        for top in range(rows_of[0], rows_of[1], band):
            rows = min(band, rows_of[1] - top)
            if planes.size:
                fill(x, planes, ZERO, ((image, here), (A, B)), ((C, H, W), (SH, SW), (PH - top * SH, PW)), (HP, WP))
            numbers = (
                (ZERO if planes.size else image * C * H * W + top * W, (image * F * OH + top) * OW), (ZERO, table.size, table.size, depth),
                (blocks, F // groups, C // groups * A * B * channel, OH * OW), planes.size > 0,
            )  # fmt: skip
            domain, target = (here, rows, OW), (F * OH * OW, OW, ONE)
            if dense:
                products_of_panels(data, table, packed, bias, y.reshape(y.size), work, spots, lines, numbers, domain, source, target)
            else:
                products(data, table, packed, bias, y.reshape(y.size), work, spots, numbers, domain, source, target)


_correlate_parallel = parallel_form(_correlate)


@njit
def _conv2d_grad_x(g, w, zeros, gx, planes, packed, table, spots, work, tasks, plan, layout, geometry):
    """With strides: phase (a, b) of gx adds up the taps that reach it; `table` has room for the taps and the phases' starts.

    gx is zero before. `plan`: taps at a time, parts.
    """
    depth, parts = plan
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups = geometry
    (A, B), (HP, WP), images = layout
    places = F // groups * KH * KW
    starts, table = table[places:], table[:places]
    flip(w, packed, table, starts, (HP * WP, WP), geometry, (A, B))
    pieces = tasks // parts
    for index in prange(tasks):
        task = np.int64(index)
        part, piece = divmod(task, pieces)
        _grad_x_task(
            g, zeros, gx, packed, table, starts, (own(planes, task, tasks), own(spots, task, tasks), own(work, task, tasks)),
            (part * N // parts, (part + 1) * N // parts), (piece, pieces), depth, ((A, B), (HP, WP), images),
            ((N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups),
        )  # fmt: skip


@njit
def _grad_x_task(g, zeros, gx, packed, table, starts, memory, images_of, piece_of, depth, layout, geometry):
    """What one task does: its piece of each phase."""
    (_, C, H, W), (F, _, _), (OH, OW), (SH, SW), (PH, PW), _, groups = geometry
    planes, spots, work = memory
    (A, B), (HP, WP), images = layout
    places, channel = table.size, HP * WP
    images = min(images, images_of[1] - images_of[0])
    lead = (HP - OH) * WP + WP - OW  # zeros, which the first rows reach back into
    planes[:lead] = 0
    planes[lead + images * F * channel :] = 0
    for image in range(images_of[0], images_of[1], images):
        here = min(images, images_of[1] - image)
        fill(g, planes, lead, ((image, here), (ONE, ONE)), ((F, OH, OW), (ONE, ONE), (ZERO, ZERO)), (HP, WP))
        for phase in range(A * B):
            a, b = divmod(phase, B)
            top, left = max(0, (PH - a + SH - 1) // SH), max(0, (PW - b + SW - 1) // SW)
            bottom, right = min(HP, (H + PH - a + SH - 1) // SH), min(WP, (W + PW - b + SW - 1) // SW)
            (skipped, end), blocks = cut(piece_of, max(0, bottom - top), C // groups, groups)
            top, bottom = top + skipped, top + end
            if top < bottom and left < right:
                numbers = (
                    (lead + top * WP + left, image * C * H * W + (top * SH + a - PH) * W + left * SW + b - PW),
                    (starts[phase], starts[phase + 1], places, depth), (blocks, C // groups, F // groups * channel, H * W), True,
                )  # fmt: skip
                domain, target = (here, bottom - top, right - left), (C * H * W, SH * W, SW)
                products(planes, table, packed, zeros, gx.reshape(gx.size), work, spots, numbers, domain, (F * channel, WP), target)


_conv2d_grad_x_parallel = parallel_form(_conv2d_grad_x)


def _bias(b: np.ndarray | None, filters: int, dtype: np.dtype) -> np.ndarray:
    """The bias and some zeros behind it."""
    result = np.zeros(filters + TAP_ROWS, dtype)
    if b is not None:
        result[:filters] = b
    return result


def _run(x: np.ndarray, w: np.ndarray, bias: np.ndarray, y: np.ndarray, geometry: Geometry, flipped: bool) -> None:
    """Fills y."""
    C, (F, KH, KW), groups = geometry[0][1], geometry[1], geometry[6]
    places = C // groups * KH * KW
    parallel = pays(y.size * places, MIN_WORK)
    tasks = get_num_threads() if parallel else 1
    layout, size, (depth, dense), vectors, room = plan_of(geometry, x.dtype, tasks)
    planes, packed, work = split(x.dtype, tasks * size, packed_size(groups, F // groups, places), tasks * room)
    table, spots = np.empty(places + depth, np.int64), np.empty(tasks * vectors, np.int64)
    run, plan = _correlate_parallel if parallel else _correlate, (depth, dense, flipped, parts_of(tasks, geometry[0][0]))
    run(x, w, bias, y, planes, packed, table, spots, work, tasks, plan, layout, geometry)


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """y[n, f, oy, ox] = b[f] + sum_{c, ky, kx} x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] * w[f, c, ky, kx]."""
    sizes = [conv_size(x.shape[i + 2], w.shape[i + 2], stride[i], padding[i], dilation[i]) for i in (0, 1)]
    y = np.empty((x.shape[0], w.shape[0], *sizes), x.dtype)
    if not y.size or not w.size:
        y[:] = 0 if b is None else b[:, None, None]
        return y
    x, w = contiguous(x), contiguous(w)
    geometry, few = geometry_of(x.shape, w.shape, stride, padding, dilation, groups), VECTOR_BYTES // x.dtype.itemsize
    if of_pixels(geometry, few):
        pixel_products(x, w.reshape(w.shape[:2]), b, y, False)
        return y
    bias = _bias(b, w.shape[0], x.dtype)
    if depthwise(geometry):
        planes(x, w, bias, y, pays(y.size * (w.size // w.shape[0]), MIN_WORK), geometry)
    else:
        _run(x, w, bias, y, geometry, False)
    if max(padding) and not finite(w):
        mend_outputs(x, w, bias, y, stride, padding, dilation)
    return y


def conv2d_grad_x(g: np.ndarray, w: np.ndarray, x_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """gx[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] += g[n, f, oy, ox] * w[f, c, ky, kx], over all f, ky, kx."""
    if not g.size or not w.size:
        return np.zeros(x_shape, g.dtype)
    g, w, gx = contiguous(g), contiguous(w), np.empty(x_shape, g.dtype)
    geometry = geometry_of(x_shape, w.shape, stride, padding, dilation, groups)
    if of_pixels(geometry, VECTOR_BYTES // g.dtype.itemsize):
        pixel_products(g, w.reshape(w.shape[:2]), None, gx, True)
        return gx
    if depthwise(geometry):
        planes_grad_x(g, w, gx, pays(g.size * (w.size // w.shape[0]), MIN_WORK), geometry)
    elif stride == (1, 1):
        _run(g, w, _bias(None, x_shape[1], g.dtype), gx, flipped_geometry(geometry), True)
    else:
        gx[:] = 0
        _by_phases(g, w, _bias(None, x_shape[1], g.dtype), gx, geometry)
    if not finite(w):
        mend_inputs(g, w, gx, stride, padding, dilation)
    return gx


def _by_phases(g: np.ndarray, w: np.ndarray, zeros: np.ndarray, gx: np.ndarray, geometry: Geometry) -> None:
    (N, C, _, _), (F, KH, KW), (OH, OW), (SH, SW), _, (DH, DW), groups = geometry
    A, B = SH if KH > 1 else 1, SW if KW > 1 else 1
    HP, WP = OH + (KH - 1) * DH // SH, OW + (KW - 1) * DW // SW
    places, few = F // groups * KH * KW, VECTOR_BYTES // g.dtype.itemsize
    parallel = pays(g.size * (w.size // F), MIN_WORK)
    tasks, images = get_num_threads() if parallel else 1, max(1, min(N, WAVE // (F * HP * WP * g.itemsize)))
    page = max(TAP_ROWS * TAP_VECTORS, FEW * ROW_VECTORS) * few
    size = -(-((HP - OH) * WP + WP - OW + F * images * HP * WP + SPARE) // few) * few
    planes, packed, work = split(g.dtype, tasks * size, packed_size(groups, C // groups, places), tasks * page)
    table = np.empty(places + A * B + 1, np.int64)
    spots = np.empty(tasks * (images * HP * -(-WP // few) + ROW_VECTORS) * SPOT, np.int64)
    run, plan = _conv2d_grad_x_parallel if parallel else _conv2d_grad_x, (max(1, min(places, DEPTH)), parts_of(tasks, N))
    run(g, w, zeros, gx, planes, packed, table, spots, work, tasks, plan, ((A, B), (HP, WP), images), geometry)


def conv2d_grad_w(g: np.ndarray, x: np.ndarray, w_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """gw[f, c, ky, kx] = sum_{n, oy, ox} g[n, f, oy, ox] * x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW]."""
    gw = np.zeros(w_shape, g.dtype)
    if not g.size or not gw.size:
        return gw
    g, x = contiguous(g), contiguous(x)
    geometry = geometry_of(x.shape, w_shape, stride, padding, dilation, groups, False)
    parallel = pays(g.size * (gw.size // gw.shape[0]), MIN_WORK)
    few = VECTOR_BYTES // g.itemsize
    if of_pixels(geometry, few):
        sum_pixels(g, x, gw)
    elif depthwise(geometry):
        planes_grad_w(g, x, gw, parallel, geometry)
    else:
        (sum_weights_thin if thin(geometry, few) else sum_weights)(g, x, gw, parallel, geometry)
    if not finite(gw):
        mend_weights(g, x, gw, stride, padding, dilation)
    return gw
