"""How a convolution is cut: its geometry, the planes, bands and waves, and whether panels are gathered."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from jitgrad.kernels.cpu.conv_tiles import CHUNK, FEW
from jitgrad.kernels.jit import workspace
from jitgrad.kernels.simd_code import VECTOR_BYTES
from jitgrad.kernels.simd_conv import ROW_VECTORS, SPOT, TAP_ROWS, TAP_VECTORS
from jitgrad.shapes import conv_size

WAVE = 1 << 19  # bytes of planes at a time, for each thread
PANEL_WAVE = 1 << 23  # of all threads together, where panels are gathered from them
SPARE = 64  # numbers behind the planes that a vector may reach into
SERVED = 2 * TAP_ROWS  # filters up to which gathering a panel costs more than it saves
FAR = 128  # rows of planes that a tile reads, up to which they stay near
DEPTH = 384  # taps at a time: their weights stay in L1
PANEL_DEPTH = 192  # taps of a panel, which stays in L1

Pair = tuple[int, int]
# (N, C, H, W), (F, KH, KW), (OH, OW), (SH, SW), (PH, PW), (DH, DW), groups
Geometry = tuple[Any, ...]
# phases (A, B), (HP, WP) of a plane, rows of the output in a band, images of a wave
Layout = tuple[Any, ...]


@lru_cache(1024)
def geometry_of(
    x_shape: tuple, w_shape: tuple, stride: Pair, padding: Pair, dilation: Pair, groups: int, flat: bool = True
) -> Geometry:  # fmt: skip
    """`flat`: a filter of one pixel that reads each pixel once sees images of one long row."""
    F, _, KH, KW = w_shape
    N, C, H, W = x_shape
    if flat and (KH, KW) == stride == (1, 1) and padding == (0, 0):
        return (N, C, 1, H * W), (F, KH, KW), (1, H * W), stride, padding, dilation, groups
    out = tuple([conv_size(x_shape[i + 2], w_shape[i + 2], stride[i], padding[i], dilation[i]) for i in (0, 1)])
    SH, SW = [1 if out[i] == 1 else stride[i] for i in (0, 1)]  # a single row or column is as well reached without steps
    return x_shape, (F, KH, KW), out, (SH, SW), padding, dilation, groups


@lru_cache(1024)
def flipped_geometry(geometry: Geometry) -> Geometry:
    """The geometry of the gradient of x where the stride is 1: g is correlated with the flipped weights."""
    x_shape, (F, KH, KW), out, stride, padding, dilation, groups = geometry
    rest = dilation[0] * (KH - 1) - padding[0], dilation[1] * (KW - 1) - padding[1]
    return (x_shape[0], F, *out), (x_shape[1], KH, KW), x_shape[2:], stride, rest, dilation, groups


def layout_of(geometry: Geometry, itemsize: int, wave: int) -> tuple[Layout, int]:
    """How planes lie, and their size; 0 where x is read where it lies, and all rows of an image are one band."""
    (N, C, _, W), (_, KH, KW), (OH, OW), (SH, SW), padding, (DH, DW), _ = geometry
    A, B = SH if KH > 1 else 1, SW if KW > 1 else 1
    reach = (KH - 1) * DH // SH
    # With stride 1 the padding on the right is the next row's on the left.
    WP = W + padding[1] if SW == 1 and padding[1] >= 0 and W + padding[1] >= OW else OW + (KW - 1) * DW // SW
    in_place = (SH, SW) == (1, 1) and padding == (0, 0)
    bands = 1 if in_place else -(-OH // max(1, wave // (C * A * B * WP * itemsize) - reach))
    band = -(-OH // bands)
    HP = band + reach
    images = max(1, min(N, wave // (C * A * B * HP * WP * itemsize))) if band == OH else 1
    size = C * A * B * images * HP * WP + (KW - 1) * DW + WP + SPARE
    return ((A, B), (HP, WP), band, images), 0 if in_place else size


def split(dtype: np.dtype, *sizes: int) -> list[np.ndarray]:
    """Arrays that share the workspace, each aligned."""
    padded = [-(-size // 16) * 16 for size in sizes]
    buffer = workspace(sum(padded), dtype)
    starts = [sum(padded[:i]) for i in range(len(padded))]
    return [buffer[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def packed_size(groups: int, filters: int, places: int) -> int:
    """Elements of weights in blocks of TAP_ROWS."""
    return groups * -(-filters // TAP_ROWS) * TAP_ROWS * places


def _gathered(geometry: Geometry, few: int) -> bool:
    """Whether panels are gathered: where enough filters use them, and not where rows are whole vectors whose taps lie near."""
    (_, C, _, _), (F, KH, _), (_, OW), _, _, _, groups = geometry
    return F // groups > SERVED and not (OW % few == 0 and C // groups * KH <= FAR)


@lru_cache(1024)
def plan_of(geometry: Geometry, dtype: np.dtype, tasks: int) -> tuple:
    """Layout and size of the planes; taps at a time, whether panels are gathered; sizes of `spots` and `work`. Sizes are of one task."""
    (_, C, _, _), (F, KH, KW), (_, OW), _, _, _, groups = geometry
    few, places = VECTOR_BYTES // dtype.itemsize, C // groups * KH * KW
    dense = _gathered(geometry, few)
    layout, size = layout_of(geometry, dtype.itemsize, max(WAVE, PANEL_WAVE // tasks) if dense else WAVE)
    stretches = max(1, -(-places // (PANEL_DEPTH if dense else DEPTH)))
    depth, tile = max(1, -(-places // stretches)), TAP_VECTORS * few
    if dense:
        room = (CHUNK * -(-(F // groups) // TAP_ROWS) * TAP_ROWS + depth) * tile
    else:
        room = max(TAP_ROWS * TAP_VECTORS, FEW * ROW_VECTORS) * few
    rows = layout[1][0] * -(-max(OW, layout[1][1]) // few)
    return layout, -(-size // few) * few, (depth, dense), (layout[3] * rows + ROW_VECTORS + tile) * SPOT, room
