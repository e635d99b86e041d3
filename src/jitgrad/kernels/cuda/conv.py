"""2-d convolutions, as cross-correlation with zero padding: one thread per element of the result, which gathers."""

from __future__ import annotations

from math import prod

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda.create import full
from jitgrad.kernels.cuda.layout import DeviceArray, flat, new, reshaped
from jitgrad.kernels.cuda.rows import row_sums
from jitgrad.kernels.jit import cuda_jit, launch
from jitgrad.shapes import conv_size

Pair = tuple[int, int]
_THREADS = 1 << 17  # enough to fill a card


def conv2d(x: DeviceArray, w: DeviceArray, b: DeviceArray | None, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> DeviceArray:
    """y[n,f,i,j] = b[f] + sum over c,u,v of x[n,c, i*SH - PH + u*DH, j*SW - PW + v*DW] * w[f,c,u,v], c of f's group."""
    N, C, H, W = x.shape
    F, _, KH, KW = w.shape
    OH = conv_size(H, KH, stride[0], padding[0], dilation[0])
    OW = conv_size(W, KW, stride[1], padding[1], dilation[1])
    y = new((N, F, OH, OW), x.dtype)
    bias = full((F,), 0, x.dtype) if b is None else flat(b)
    sizes, steps = (C, H, W, F, OH, OW, KH, KW), (*stride, *padding, *dilation, groups)
    launch(_conv2d, y.size, flat(x), flat(w), bias, sizes, steps, x.dtype.type(0), flat(y))
    return y


@cuda_jit
def _conv2d(x, w, b, sizes, steps, zero, out):
    i = cuda.grid(1)
    if i < out.size:
        C, H, W, F, OH, OW, KH, KW = sizes
        SH, SW, PH, PW, DH, DW, groups = steps
        CG = C // groups  # channels that a filter sees
        f = i // (OW * OH) % F
        n = i // (OW * OH * F)
        top = i // OW % OH * SH - PH
        left = i % OW * SW - PW
        first = f // (F // groups) * CG
        total = zero
        for c in range(CG):
            part = zero  # a sum per channel: rounding errors stay small
            for u in range(KH):
                h = top + u * DH
                if 0 <= h < H:
                    for v in range(KW):
                        q = left + v * DW
                        if 0 <= q < W:
                            part += x[((n * C + first + c) * H + h) * W + q] * w[((f * CG + c) * KH + u) * KW + v]
            total += part
        out[i] = total + b[f]


def conv2d_grad_x(
    g: DeviceArray,
    w: DeviceArray,
    x_shape: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> DeviceArray:
    """gx[n,c,h,q] = sum over f,u,v of g[n, f, (h + PH - u*DH) / SH, (q + PW - v*DW) / SW] * w[f,c,u,v], where whole."""
    _, C, H, W = x_shape
    _, F, OH, OW = g.shape
    _, _, KH, KW = w.shape
    gx = new(x_shape, g.dtype)
    sizes, steps = (C, H, W, F, OH, OW, KH, KW), (*stride, *padding, *dilation, groups)
    launch(_conv2d_grad_x, gx.size, flat(g), flat(w), sizes, steps, g.dtype.type(0), flat(gx))
    return gx


@cuda_jit
def _conv2d_grad_x(g, w, sizes, steps, zero, out):
    i = cuda.grid(1)
    if i < out.size:
        C, H, W, F, OH, OW, KH, KW = sizes
        SH, SW, PH, PW, DH, DW, groups = steps
        CG, FG = C // groups, F // groups
        q = i % W
        h = i // W % H
        c = i // (W * H) % C
        n = i // (W * H * C)
        first = c // CG * FG
        total = zero
        for f in range(first, first + FG):
            part = zero
            for u in range(KH):
                down = h + PH - u * DH
                if down >= 0 and down % SH == 0 and down // SH < OH:
                    for v in range(KW):
                        right = q + PW - v * DW
                        if right >= 0 and right % SW == 0 and right // SW < OW:
                            at = ((n * F + f) * OH + down // SH) * OW + right // SW
                            part += g[at] * w[((f * CG + c % CG) * KH + u) * KW + v]
            total += part
        out[i] = total


def conv2d_grad_w(
    g: DeviceArray,
    x: DeviceArray,
    w_shape: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> DeviceArray:
    """gw[f,c,u,v] = sum over n,i,j of g[n,f,i,j] * x[n, c, i*SH - PH + u*DH, j*SW - PW + v*DW], c in f's group."""
    N, C, H, W = x.shape
    _, F, OH, OW = g.shape
    _, _, KH, KW = w_shape
    size = prod(w_shape)
    sizes, steps = (C, H, W, F, OH, OW, KH, KW), (*stride, *padding, *dilation, groups)
    # Weights are few and sums over pixels long, so the rows of all images are shared out over `lanes` threads.
    lanes = max(1, min(N * OH, _THREADS // max(size, 1)))
    parts = new((size * lanes,), np.dtype(np.float64))
    launch(_conv2d_grad_w, size * lanes, flat(g), flat(x), (N * OH, lanes), sizes, steps, g.dtype.type(0), parts)
    return reshaped(row_sums(parts, size, lanes, g.dtype), w_shape)


@cuda_jit
def _conv2d_grad_w(g, x, sharing, sizes, steps, zero, out):
    i = cuda.grid(1)
    if i < out.size:
        C, H, W, F, OH, OW, KH, KW = sizes
        SH, SW, PH, PW, DH, DW, groups = steps
        rows, lanes = sharing
        CG = C // groups
        at = i // lanes  # the weight
        v = at % KW
        u = at // KW % KH
        f = at // (KW * KH * CG)
        c = f // (F // groups) * CG + at // (KW * KH) % CG
        total = np.float64(0)
        for row in range(i % lanes, rows, lanes):
            n, oh = row // OH, row % OH
            h = oh * SH - PH + u * DH
            if 0 <= h < H:
                part = zero  # one row of pixels
                for ow in range(OW):
                    q = ow * SW - PW + v * DW
                    if 0 <= q < W:
                        part += g[((n * F + f) * OH + oh) * OW + ow] * x[((n * C + c) * H + h) * W + q]
                total += part
        out[i] = total
