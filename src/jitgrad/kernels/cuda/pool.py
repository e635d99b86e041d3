"""2-d pooling: one thread per element of the result, but for max_pool2d_grad with one per plane."""

from __future__ import annotations

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda.create import full
from jitgrad.kernels.cuda.layout import DeviceArray, flat, flat_words, new
from jitgrad.kernels.jit import cuda_jit, launch
from jitgrad.shapes import pool_size

Pair = tuple[int, int]
_INT64 = np.dtype(np.int64)


def max_pool2d(
    x: DeviceArray, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[DeviceArray, DeviceArray]:
    """y[n,c,i,j] = max over u,v of x[n, c, i*SH - PH + u*DH, j*SW - PW + v*DW], and where in the plane it is.

    The first maximum wins, NaN over all.
    """
    N, C, H, W = x.shape
    OH = pool_size(H, kernel_size[0], stride[0], padding[0], dilation[0], ceil_mode)
    OW = pool_size(W, kernel_size[1], stride[1], padding[1], dilation[1], ceil_mode)
    y, indices = new((N, C, OH, OW), x.dtype), new((N, C, OH, OW), _INT64)
    sizes, steps = (H, W, OH, OW, *kernel_size), (*stride, *padding, *dilation)
    launch(_max_pool2d, y.size, flat(x), sizes, steps, flat(y), flat(indices))
    return y, indices


@cuda_jit
def _max_pool2d(x, sizes, steps, out, out_indices):
    i = cuda.grid(1)
    if i < out.size:
        H, W, OH, OW, KH, KW = sizes
        SH, SW, PH, PW, DH, DW = steps
        plane = i // (OW * OH) * H * W
        top = i // OW % OH * SH - PH
        left = i % OW * SW - PW
        while top < 0:  # taps in the padding count for nothing
            top += DH
            KH -= 1
        while left < 0:
            left += DW
            KW -= 1
        place = top * W + left
        best = x[plane + place]
        for u in range(KH):
            h = top + u * DH
            if h < H:
                for v in range(KW):
                    q = left + v * DW
                    if q < W:
                        value = x[plane + h * W + q]
                        if value > best or (value != value and best == best):
                            best = value
                            place = h * W + q
        out[i] = best
        out_indices[i] = place


def max_pool2d_grad(g: DeviceArray, indices: DeviceArray, x_shape: tuple[int, ...]) -> DeviceArray:
    """gx[n,c,p] = sum of the g[n,c,i] whose indices[n,c,i] is p, in the order of i."""
    N, C, H, W = x_shape
    gx = full(x_shape, 0, g.dtype)
    launch(_max_pool2d_grad, N * C, flat(g), flat(indices), (N * C, H * W), flat(gx))
    return gx


@cuda_jit
def _max_pool2d_grad(g, indices, sizes, out):
    plane = cuda.grid(1)
    planes, size = sizes
    if plane < planes:
        taken = g.size // planes
        for i in range(plane * taken, (plane + 1) * taken):
            out[plane * size + indices[i]] += g[i]


def max_pool2d_gather(x: DeviceArray, indices: DeviceArray) -> DeviceArray:
    """y[n,c,i] = x[n,c].flat[indices[n,c,i]]."""
    N, C, H, W = x.shape
    y = new(tuple(indices.shape), x.dtype)
    launch(_max_pool2d_gather, y.size, flat_words(x), flat(indices), (N * C, H * W), flat_words(y))
    return y


@cuda_jit
def _max_pool2d_gather(x, indices, sizes, out):
    i = cuda.grid(1)
    if i < out.size:
        planes, size = sizes
        plane = i // (out.size // planes)
        out[i] = x[plane * size + indices[i]]


@cuda_jit(device=True)
def _least(a, b):  # min and max of ints do not compile for CUDA
    return a if a < b else b


@cuda_jit(device=True)
def _most(a, b):
    return a if a > b else b


def avg_pool2d(
    x: DeviceArray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int,
) -> DeviceArray:
    """y[n,c,i,j] = sum over u,v of x[n, c, i*SH - PH + u, j*SW - PW + v] / D.

    D is divisor, or where that is 0 the size of the window within the padded plane (count_include_pad) or the plane.
    """
    N, C, H, W = x.shape
    OH = pool_size(H, kernel_size[0], stride[0], padding[0], 1, ceil_mode)
    OW = pool_size(W, kernel_size[1], stride[1], padding[1], 1, ceil_mode)
    y = new((N, C, OH, OW), x.dtype)
    sizes, steps = (H, W, OH, OW, *kernel_size), (*stride, *padding, int(count_include_pad), divisor)
    launch(_avg_pool2d, y.size, flat(x), sizes, steps, flat(y))
    return y


@cuda_jit
def _avg_pool2d(x, sizes, steps, out):
    i = cuda.grid(1)
    if i < out.size:
        H, W, OH, OW, KH, KW = sizes
        SH, SW, PH, PW, with_pad, divisor = steps
        plane = i // (OW * OH) * H * W
        top = i // OW % OH * SH - PH
        left = i % OW * SW - PW
        bottom, right = _least(top + KH, H + PH), _least(left + KW, W + PW)
        padded = (bottom - top) * (right - left)
        top, left, bottom, right = _most(top, 0), _most(left, 0), _least(bottom, H), _least(right, W)
        total = np.float64(0)
        for h in range(top, bottom):
            for q in range(left, right):
                total += x[plane + h * W + q]
        inside = (bottom - top) * (right - left)
        count = divisor if divisor != 0 else padded if with_pad != 0 else inside
        out[i] = total / count


def avg_pool2d_grad(
    g: DeviceArray,
    x_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int,
) -> DeviceArray:
    """gx[n,c,h,q] = sum of g[n,c,i,j] / D over the windows i,j that cover h,q; D as in avg_pool2d."""
    gx = new(x_shape, g.dtype)
    sizes = (*x_shape[2:], *tuple(g.shape)[2:], *kernel_size)
    steps = (*stride, *padding, int(count_include_pad), divisor)
    launch(_avg_pool2d_grad, gx.size, flat(g), sizes, steps, flat(gx))
    return gx


@cuda_jit
def _avg_pool2d_grad(g, sizes, steps, out):
    index = cuda.grid(1)
    if index < out.size:
        H, W, OH, OW, KH, KW = sizes
        SH, SW, PH, PW, with_pad, divisor = steps
        plane = index // (W * H) * OH * OW
        h = index // W % H + PH  # in the padded plane
        q = index % W + PW
        total = np.float64(0)
        for i in range(_most(0, (h - KH + SH) // SH), _least(OH, h // SH + 1)):
            top = i * SH - PH
            bottom = _least(top + KH, H + PH)
            for j in range(_most(0, (q - KW + SW) // SW), _least(OW, q // SW + 1)):
                left = j * SW - PW
                right = _least(left + KW, W + PW)
                padded = (bottom - top) * (right - left)
                inside = (_least(bottom, H) - _most(top, 0)) * (_least(right, W) - _most(left, 0))
                count = divisor if divisor != 0 else padded if with_pad != 0 else inside
                total += np.float64(g[plane + i * OW + j]) / count
        out[index] = total


@cuda_jit(device=True)
def _start(o, size, out_size):  # the first pixel of window o of out_size
    return o * size // out_size


@cuda_jit(device=True)
def _stop(o, size, out_size):  # one past its last pixel
    return ((o + 1) * size + out_size - 1) // out_size


def adaptive_avg_pool2d(x: DeviceArray, output_size: Pair) -> DeviceArray:
    """y[n,c,i,j] = mean of x[n,c,h,q] over i H / OH <= h < (i + 1) H / OH and j W / OW <= q < (j + 1) W / OW, rounded outwards."""
    N, C, H, W = x.shape
    y = new((N, C, *output_size), x.dtype)
    launch(_adaptive_avg_pool2d, y.size, flat(x), (H, W, *output_size), flat(y))
    return y


@cuda_jit
def _adaptive_avg_pool2d(x, sizes, out):
    index = cuda.grid(1)
    if index < out.size:
        H, W, OH, OW = sizes
        plane = index // (OW * OH) * H * W
        i = index // OW % OH
        j = index % OW
        total = np.float64(0)
        for h in range(_start(i, H, OH), _stop(i, H, OH)):
            for q in range(_start(j, W, OW), _stop(j, W, OW)):
                total += x[plane + h * W + q]
        out[index] = total / ((_stop(i, H, OH) - _start(i, H, OH)) * (_stop(j, W, OW) - _start(j, W, OW)))


def adaptive_avg_pool2d_grad(g: DeviceArray, x_shape: tuple[int, ...]) -> DeviceArray:
    """gx[n,c,h,q] = sum of g[n,c,i,j] / size of the window over the windows i,j that hold h,q."""
    gx = new(x_shape, g.dtype)
    launch(_adaptive_avg_pool2d_grad, gx.size, flat(g), (*x_shape[2:], *tuple(g.shape)[2:]), flat(gx))
    return gx


@cuda_jit
def _adaptive_avg_pool2d_grad(g, sizes, out):
    index = cuda.grid(1)
    if index < out.size:
        H, W, OH, OW = sizes
        plane = index // (W * H) * OH * OW
        h = index // W % H
        q = index % W
        total = np.float64(0)
        # Windows are to pixels as pixels to windows: those that hold h are the share of h among them.
        for i in range(_start(h, OH, H), _stop(h, OH, H)):
            tall = _stop(i, H, OH) - _start(i, H, OH)
            for j in range(_start(q, OW, W), _stop(q, OW, W)):
                total += np.float64(g[plane + i * OW + j]) / (tall * (_stop(j, W, OW) - _start(j, W, OW)))
        out[index] = total
