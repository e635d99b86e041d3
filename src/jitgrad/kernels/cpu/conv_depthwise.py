"""Convolutions whose groups have one channel of x: each plane has filters of its own, and its rows stay in registers.

No padded copies are made: taps outside of a row are left out of vectors, rows outside of an image are passed over.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.conv_plan import Geometry
from jitgrad.kernels.cpu.conv_tiles import FEW
from jitgrad.kernels.jit import njit, parallel_form, prange
from jitgrad.kernels.simd_code import VECTOR_BYTES, lanes
from jitgrad.kernels.simd_depthwise import PLANE_DOTS, PLANE_ROWS, plane_dots, plane_rows, plane_seconds

STRETCH = 512  # rows whose products are summed before float64 takes over


def depthwise(geometry: Geometry) -> bool:
    """Whether it is such a convolution, of few filters for each channel, whose rows these kernels can take."""
    (_, C, _, _), (F, _, _), _, (_, SW), _, _, groups = geometry
    return groups == C and F // C <= FEW and SW <= 2


@njit(inline=True)
def _reach(first, step, size, count):
    """The range of those k < count for which first + k step is in 0 ... size - 1."""
    start = min(count, max(0, (step - 1 - first) // step))
    return start, max(start, min(count, (size - first + step - 1) // step))


@njit
def _depthwise(x, w, bias, y, geometry):
    """y[n, f, oy, ox] = bias[f] + sum over ky, kx of x[n, f // filters, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] w[f, ky, kx]"""
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), _ = geometry
    x_flat, w_flat, y_flat = x.reshape(x.size), w.reshape(w.size), y.reshape(y.size)
    for task in prange(N * F):
        n, f = divmod(np.int64(task), F)  # Numba counts parallel loops in uint64
        plane, tap = (n * C + f // (F // C)) * H * W, f * KH * KW
        for oy in range(0, OH, PLANE_ROWS):
            to = (np.int64(task) * OH + oy) * OW
            plane_rows(
                y_flat, to, OW, min(PLANE_ROWS, OH - oy), OW, bias[f], False, x_flat, plane, H, W,
                oy * SH - PH, -PW, SH, SW, DH, DW, w_flat, tap, KH, KW, KW,
            )  # fmt: skip


@njit
def _depthwise_grad_x(g, w, gx, geometry):
    """gx[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] += g[n, f, oy, ox] w[f, ky, kx] over the filters f of c, ky and kx."""
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), _ = geometry
    g_flat, w_flat, gx_flat = g.reshape(g.size), w.reshape(w.size), gx.reshape(gx.size)
    filters, zero = F // C, g.dtype.type(0)
    apart = 1  # of the ky that reach the same rows of gx
    while apart * DH % SH:
        apart += 1
    for task in prange(N * C):
        for phase in range(min(SH, H)):  # the same ky reach each SH-th row
            ky = 0
            while ky < apart and (phase + PH - ky * DH) % SH:
                ky += 1
            count = (KH - ky + apart - 1) // apart if ky < min(apart, KH) else 0
            for i in range(0, (H - phase + SH - 1) // SH, PLANE_ROWS):
                line = phase + i * SH
                to, rows = (np.int64(task) * H + line) * W, min(PLANE_ROWS, (H - line + SH - 1) // SH)
                for k in range(filters):
                    plane, f = (np.int64(task) * filters + k) * OH * OW, np.int64(task) % C * filters + k
                    part = (
                        plane, OH, OW, (line + PH - ky * DH) // SH, PW, 1, SW, -(apart * DH // SH), -DW,
                        (f * KH + ky) * KW, count, KW, apart * KW,
                    )  # fmt: skip
                    if SW == 1:
                        plane_rows(gx_flat, to, SH * W, rows, W, zero, k > 0, g_flat, *part[:9], w_flat, *part[9:])
                    else:
                        plane_seconds(gx_flat, to, SH * W, rows, W, zero, k > 0, g_flat, *part[:9], w_flat, *part[9:])


@njit
def _depthwise_grad_w(g, x, gw, sums, totals, geometry):
    """gw[f, ky, kx] = sum over n, oy, ox of g[n, f, oy, ox] x[n, f // filters, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW].

    `sums` has room for a vector for each filter; `totals`, as gw, is float64.
    """
    (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), _ = geometry
    g_flat, x_flat, result = g.reshape(g.size), x.reshape(x.size), gw.reshape(gw.size)
    images = max(1, STRETCH // OH)
    for task in prange(F):
        f = np.int64(task)
        mine = sums[f * lanes(x) : (f + 1) * lanes(x)]
        for ky in range(KH):
            top = ky * DH - PH
            first, last = _reach(top, SH, H, OH)
            for kx in range(0, KW, PLANE_DOTS):
                count, to = min(PLANE_DOTS, KW - kx), (f * KH + ky) * KW + kx
                totals[to : to + count] = 0.0
                for n in range(0, N, images):
                    at, plane = ((n * F + f) * OH + first) * OW, ((n * C + f // (F // C)) * H + top + first * SH) * W
                    plane_dots(
                        mine, min(images, N - n), g_flat, at, F * OH * OW, OW, last - first, x_flat, plane, C * H * W, SH * W,
                        W, kx * DW - PW, SW, DW, count,
                    )  # fmt: skip
                    for k in range(count):
                        totals[to + k] += mine[k]
                for k in range(count):
                    result[to + k] = totals[to + k]


_depthwise_parallel, _depthwise_grad_x_parallel = parallel_form(_depthwise), parallel_form(_depthwise_grad_x)
_depthwise_grad_w_parallel = parallel_form(_depthwise_grad_w)


def planes(x: np.ndarray, w: np.ndarray, bias: np.ndarray, y: np.ndarray, parallel: bool, geometry: Geometry) -> None:
    (_depthwise_parallel if parallel else _depthwise)(x, w, bias, y, geometry)


def planes_grad_x(g: np.ndarray, w: np.ndarray, gx: np.ndarray, parallel: bool, geometry: Geometry) -> None:
    (_depthwise_grad_x_parallel if parallel else _depthwise_grad_x)(g, w, gx, geometry)


def planes_grad_w(g: np.ndarray, x: np.ndarray, gw: np.ndarray, parallel: bool, geometry: Geometry) -> None:
    sums, totals = np.empty(gw.shape[0] * VECTOR_BYTES // g.itemsize, g.dtype), np.empty(gw.size, np.float64)
    (_depthwise_grad_w_parallel if parallel else _depthwise_grad_w)(g, x, gw, sums, totals, geometry)
