"""Planes of convolutions: padded images in phases, laid out so that a filter tap is one offset; and where the taps are in them."""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.jit import njit, prange
from jitgrad.kernels.simd_conv import copy_row


@njit
def fill(x, planes, lead, count, source, layout):
    """planes[lead + (c, a, b, n, r, q)] = padded x[first + n, c, r*SH + a, q*SW + b], for n < here of `images` places.

    `count` is (first, here, images), phases (A, B); `source` the (C, H, W), stride and padding of x; `layout` a plane's (HP, WP).
    """
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
                    copy_row(planes, to + np.uint64(start), flat, at, stop - start, False)
                else:
                    for q in range(np.uint64(stop - start)):
                        planes[to + np.uint64(start) + q] = flat[at + q * np.uint64(SW)]
                for q in range(np.uint64(stop), np.uint64(WP)):
                    planes[to + q] = 0
            else:
                for q in range(np.uint64(WP)):
                    planes[to + q] = 0


@njit
def fill_outputs(g, planes, lead, count, geometry):
    """planes[lead + (f, n, r, q)] = g[first + n, f, r, q], and zero outside of g."""
    _, (F, _, _), (OH, OW), _, _, _, _, plane = geometry
    zero, one = np.int64(0), np.int64(1)  # not literals, which have types of their own
    fill(g, planes, lead, (count, (one, one)), ((F, OH, OW), (one, one), (zero, zero)), plane)


@njit
def offsets(table, steps, geometry):
    """table[c, ky, kx] = offset of a tap in the planes of one group of channels; `steps`: distances of planes and of their rows."""
    (_, C, _, _), (_, KH, KW), _, (SH, SW), _, (DH, DW), (groups, A, B), _ = geometry
    t = 0
    for c in range(C // groups):
        for ky in range(KH):
            qy, a = divmod(ky * DH, SH)
            for kx in range(KW):
                qx, b = divmod(kx * DW, SW)
                table[t] = ((c * A + a) * B + b) * steps[0] + qy * steps[1] + qx
                t += 1
