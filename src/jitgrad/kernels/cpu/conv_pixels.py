"""Convolutions that look at single pixels: products of the weights with the images, seen as (channels, pixels) matrices."""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.conv_plan import Geometry
from jitgrad.kernels.cpu.layout import or_nothing
from jitgrad.kernels.cpu.matmul import multiply

WASTE = 1.2  # vectors of the pixels of an image, over what would do, from which panels of several images are faster


def of_pixels(geometry: Geometry, few: int) -> bool:
    """Whether that is so, and the pixels of an image fill vectors of so `few`."""
    x_shape, (_, KH, KW), out, _, padding, _, groups = geometry
    pixels = out[0] * out[1]
    single = (KH, KW) == (1, 1) and out == x_shape[2:] and padding == (0, 0) and groups == 1
    return single and -(-pixels // few) * few <= WASTE * pixels


def pixel_products(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, transposed: bool) -> None:
    """Fills y[n] = w @ x[n] + b[:, None], or with w.T; w is (filters, channels)."""
    images, rows = x.shape[0], y.shape[1]
    out, bias = y.reshape((images * rows, -1)), or_nothing(None, x.dtype)
    if b is not None:
        y.reshape((images, rows, -1))[:] = b[:, None]
        bias = out.reshape(-1)
    multiply(w, x.reshape((images * x.shape[1], -1)), bias, out, (images, 1, images, images, transposed, False))


def sum_pixels(g: np.ndarray, x: np.ndarray, gw: np.ndarray) -> None:
    """Fills gw = sum_n g[n] @ x[n].T"""
    images, (F, C) = g.shape[0], gw.shape[:2]
    swapped = F < C  # the right operand is the one that is copied
    left, right = (x, g) if swapped else (g, x)
    out = np.empty((C, F), g.dtype) if swapped else gw.reshape((F, C))
    matrices = [m.reshape((images * m.shape[1], -1)) for m in (left, right)]
    multiply(*matrices, or_nothing(None, g.dtype), out, (images, images, images, 1, False, True))
    if swapped:
        gw.reshape((F, C))[:] = out.T
