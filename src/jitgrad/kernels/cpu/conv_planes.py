"""Planes of convolutions: padded images in phases, laid out so that a filter tap is one offset; and where the taps are in them."""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.jit import njit, prange
from jitgrad.kernels.simd_conv import fill_rows


@njit
def fill(x, planes, lead, count, source, layout):
    """planes[lead + (c, a, b, n, r, q)] = padded x[first + n, c, r*SH + a, q*SW + b], for n < here of `images` places.

    `count` is (first, here, images), phases (A, B); `source` the (C, H, W), stride and padding of x; `layout` a plane's (HP, WP).
    """
    (first_image, here, images), (A, B) = count
    (C, H, W), (SH, SW), (PH, PW) = source
    HP, WP = layout
    flat = x.reshape(x.size)
    for task in prange(C * A * B):
        channel, phase = divmod(np.int64(task), A * B)  # Numba counts parallel loops in uint64
        a, b = divmod(phase, B)
        left = b - PW  # column of x that q = 0 reads
        start = min(WP, max(0, (SW - 1 - left) // SW))
        stop = max(start, min(WP, (W - left + SW - 1) // SW))
        # Rows of the plane before the image, in it, and behind it.
        first_row = min(HP, max(0, (PH - a + SH - 1) // SH))
        last_row = max(first_row, min(HP, (H + PH - a + SH - 1) // SH))
        for n in range(here):
            image = lead + (np.int64(task) * images + n) * HP * WP
            at = (((first_image + n) * C + channel) * H + first_row * SH + a - PH) * W + left
            for i in range(np.uint64(image), np.uint64(image + first_row * WP)):
                planes[i] = 0
            if SW <= 2:
                fill_rows(planes, image + first_row * WP, WP, last_row - first_row, flat, at, SH * W, SW, start, stop)
            else:
                for r in range(last_row - first_row):
                    for q in range(WP):
                        inside = start <= q < stop
                        planes[image + (first_row + r) * WP + q] = flat[at + r * SH * W + q * SW] if inside else planes.dtype.type(0)
            for i in range(np.uint64(image + last_row * WP), np.uint64(image + HP * WP)):
                planes[i] = 0


@njit
def offsets(table, steps, phases, geometry):
    """table[c, ky, kx] = offset of a tap in the planes of one group of channels.

    `steps`: distances of planes and of their rows; `phases`: how many rows and columns have.
    """
    (_, C, _, _), (_, KH, KW), _, (SH, SW), _, (DH, DW), groups = geometry
    A, B = phases
    t = 0
    for c in range(C // groups):
        for ky in range(KH):
            qy, a = divmod(ky * DH, SH)
            for kx in range(KW):
                qx, b = divmod(kx * DW, SW)
                table[t] = ((c * A + a) * B + b) * steps[0] + qy * steps[1] + qx
                t += 1
