"""Planes of convolutions: padded images in phases, laid out so that a filter tap is one offset; and where the taps are in them."""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.jit import njit, prange
from jitgrad.kernels.simd_conv import copy_row, copy_seconds


@njit
def fill(x, planes, lead, count, source, layout):
    """planes[lead + (c, a, b, n, r, q)] = padded x[first + n, c, r*SH + a, q*SW + b*apart], for n < here of `images` places.

    `count` is (first, here, images), phases (A, B, apart); `source` the (C, H, W), stride and padding of x; `layout` a plane's (HP, WP).
    """
    (first, here, images), (A, B, apart) = count
    (C, H, W), (SH, SW), (PH, PW) = source
    HP, WP = layout
    flat = x.reshape(x.size)
    for task in prange(C * A * B * here):
        rest, n = divmod(np.int64(task), here)  # Numba counts parallel loops in uint64
        channel, phase = divmod(rest, A * B)
        a, b = divmod(phase, B)
        image = lead + (rest * images + n) * HP * WP
        left = b * apart - PW  # column of x that q = 0 reads
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
                    copy_row(planes, to + np.uint64(start), flat, at, stop - start, False)
                elif SW == 2:
                    copy_seconds(planes, to + np.uint64(start), flat, at, stop - start)
                else:
                    for q in range(np.uint64(stop - start)):
                        planes[to + np.uint64(start) + q] = flat[at + q * np.uint64(SW)]
                for q in range(np.uint64(stop), np.uint64(WP)):
                    planes[to + q] = 0
            else:
                for q in range(np.uint64(WP)):
                    planes[to + q] = 0


@njit
def offsets(table, steps, phases, geometry):
    """table[c, ky, kx] = offset of a tap in the planes of one group of channels.

    `steps`: distances of planes and of their rows; `phases`: how many rows and columns have, one for each column of the kernel where
    `apart` is not 0.
    """
    (_, C, _, _), (_, KH, KW), _, (SH, SW), _, (DH, DW), groups = geometry
    A, B, narrow = phases
    t = 0
    for c in range(C // groups):
        for ky in range(KH):
            qy, a = divmod(ky * DH, SH)
            for kx in range(KW):
                qx, b = (0, kx) if narrow else divmod(kx * DW, SW)
                table[t] = ((c * A + a) * B + b) * steps[0] + qy * steps[1] + qx
                t += 1
