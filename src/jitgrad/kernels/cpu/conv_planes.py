"""Planes of convolutions: padded images in phases, laid out so that a filter tap is one offset; and where the taps are in them."""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd_conv import fill_rows


@njit
def fill(x, planes, lead, count, source, layout):
    """planes[lead + (n, c, a, b, r, q)] = padded x[first + n, c, r*SH + a, q*SW + b] for n < here.

    `count` is (first, here), phases (A, B); `source` the (C, H, W), stride and padding of x; `layout` a plane's (HP, WP).
    """
    (first_image, here), (A, B) = count
    (C, H, W), (SH, SW), (PH, PW) = source
    HP, WP = layout
    flat, size = x.reshape(x.size), HP * WP
    together = 2 if SW == B == 2 else 1  # both phases of a row are read at once
    for plane in range(0, C * A * B, together):
        channel, phase = divmod(plane, A * B)
        a, b = divmod(phase, B)
        # Rows of the plane before the image, in it, and behind it.
        first_row = min(HP, max(0, (PH - a + SH - 1) // SH))
        last_row = max(first_row, min(HP, (H + PH - a + SH - 1) // SH))
        for n in range(here):
            start = lead + (n * C * A * B + plane) * size
            at = (((first_image + n) * C + channel) * H + first_row * SH + a - PH) * W
            for image in range(start, start + together * size, size):
                for i in range(np.uint64(image), np.uint64(image + first_row * WP)):
                    planes[i] = 0
                for i in range(np.uint64(image + last_row * WP), np.uint64(image + HP * WP)):
                    planes[i] = 0
            to, rows = start + first_row * WP, last_row - first_row
            if SW <= 2:
                fill_rows(planes, to, WP, rows, flat, at, SH * W, SW, b - PW, W, size * (together - 1))
            else:
                for r in range(rows):
                    for q in range(WP):
                        column = q * SW + b - PW
                        planes[to + r * WP + q] = flat[at + r * SH * W + column] if 0 <= column < W else planes.dtype.type(0)


@njit
def offsets(table, steps, phases, geometry):
    """table[c, ky, kx] = offset of a tap in the planes of one group of channels.

    `steps`: distances of planes and of their rows; `phases`: how many rows and columns have.
    """
    (_, C, _, _), (_, KH, KW), _, (SH, SW), _, (DH, DW), groups = geometry
    A, B = phases
    for ky in range(KH):
        qy, a = divmod(ky * DH, SH)
        for kx in range(KW):
            qx, b = divmod(kx * DW, SW)
            table[ky * KW + kx] = (a * B + b) * steps[0] + qy * steps[1] + qx
    for t in range(KH * KW, C // groups * KH * KW):  # channel by channel the same
        table[t] = table[t - KH * KW] + A * B * steps[0]
