"""Convolutions where a number is infinite or NaN: its product with a zero of the padding, or behind a row, is NaN, which is in no sum.

A result that came out as NaN is summed again over the pixels inside the image alone, until it is NaN for good. Called only where a
weight, or the gradient of one, is not finite.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.jit import SUM, njit
from jitgrad.kernels.simd import full_vectors


@njit(fastmath=SUM)
def finite(x):
    """Whether all numbers are: infinity and NaN times zero are NaN, and so is every sum that holds them."""
    full_vectors()
    flat, total = x.reshape(x.size), x.dtype.type(0)
    for i in range(flat.size):
        total += flat[i] * x.dtype.type(0)
    return total == 0


@njit
def mend_outputs(x, w, bias, y, stride, padding, dilation):
    """The NaNs of y[n, f, oy, ox] = bias[f] + sum over c, ky, kx of x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] w[f, c, ky, kx]."""
    (SH, SW), (PH, PW), (DH, DW) = stride, padding, dilation
    _, _, H, W = x.shape
    F, channels, KH, KW = w.shape
    groups = x.shape[1] // channels
    for n in range(y.shape[0]):
        for f in range(F):
            first = f // (F // groups) * channels
            for oy in range(y.shape[2]):
                for ox in range(y.shape[3]):
                    tap, total = 0, bias[f]
                    while np.isnan(y[n, f, oy, ox]) and not np.isnan(total) and tap < channels * KH * KW:
                        c, ky, kx = tap // (KH * KW), tap // KW % KH, tap % KW
                        r, q = oy * SH - PH + ky * DH, ox * SW - PW + kx * DW
                        if 0 <= r < H and 0 <= q < W:
                            total += x[n, first + c, r, q] * w[f, c, ky, kx]
                        tap += 1
                    if tap:
                        y[n, f, oy, ox] = total


@njit
def mend_inputs(g, w, gx, stride, padding, dilation):
    """The NaNs of gx[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW] += g[n, f, oy, ox] w[f, c, ky, kx]."""
    (SH, SW), (PH, PW), (DH, DW) = stride, padding, dilation
    _, F, OH, OW = g.shape
    _, channels, KH, KW = w.shape
    filters = F // (gx.shape[1] // channels)
    for n in range(gx.shape[0]):
        for c in range(gx.shape[1]):
            first = c // channels * filters
            for r in range(gx.shape[2]):
                for q in range(gx.shape[3]):
                    tap, total = 0, gx.dtype.type(0)
                    while np.isnan(gx[n, c, r, q]) and not np.isnan(total) and tap < filters * KH * KW:
                        f, ky, kx = tap // (KH * KW), tap // KW % KH, tap % KW
                        (oy, down), (ox, right) = divmod(r + PH - ky * DH, SH), divmod(q + PW - kx * DW, SW)
                        if down == 0 and right == 0 and 0 <= oy < OH and 0 <= ox < OW:
                            total += g[n, first + f, oy, ox] * w[first + f, c % channels, ky, kx]
                        tap += 1
                    if tap:
                        gx[n, c, r, q] = total


@njit
def mend_weights(g, x, gw, stride, padding, dilation):
    """The NaNs of gw[f, c, ky, kx] = sum over n, oy, ox of g[n, f, oy, ox] x[n, c, oy*SH - PH + ky*DH, ox*SW - PW + kx*DW]."""
    (SH, SW), (PH, PW), (DH, DW) = stride, padding, dilation
    N, F, OH, OW = g.shape
    _, channels, KH, KW = gw.shape
    filters = F // (x.shape[1] // channels)
    for f in range(F):
        for c in range(channels):
            for ky in range(KH):
                for kx in range(KW):
                    pixel, total = 0, gw.dtype.type(0)
                    while np.isnan(gw[f, c, ky, kx]) and not np.isnan(total) and pixel < N * OH * OW:
                        n, oy, ox = pixel // (OH * OW), pixel // OW % OH, pixel % OW
                        r, q = oy * SH - PH + ky * DH, ox * SW - PW + kx * DW
                        if 0 <= r < x.shape[2] and 0 <= q < x.shape[3]:
                            total += g[n, f, oy, ox] * x[n, f // filters * channels + c, r, q]
                        pixel += 1
                    if pixel:
                        gw[f, c, ky, kx] = total
