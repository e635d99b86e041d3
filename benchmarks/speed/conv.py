"""Convolutions."""

from typing import ClassVar

import numpy as np

import jitgrad.nn.functional as F  # noqa: N812

from .common import Both, Case, Forward


def windows(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Convolution as a product of windows and weights."""
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(wide, w.shape[2:], (2, 3))  # (N, C, OH, OW, KH, KW)
    return np.tensordot(view, w, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)


CASES = {
    "3x3 few channels": Case(
        lambda x, w: F.conv2d(x, w, padding=1), windows, [(1, 1, 8, 8), (4, 1, 3, 3)], [(16, 3, 32, 32), (16, 3, 3, 3)]
    ),
    "3x3 many channels": Case(
        lambda x, w: F.conv2d(x, w, padding=1), windows, [(1, 8, 4, 4), (8, 8, 3, 3)], [(8, 64, 16, 16), (64, 64, 3, 3)]
    ),
    "3x3 stride 2": Case(
        lambda x, w: F.conv2d(x, w, stride=2, padding=1), lambda x, w: windows(x, w)[:, :, ::2, ::2],
        [(1, 2, 8, 8), (4, 2, 3, 3)], [(8, 32, 32, 32), (32, 32, 3, 3)],
    ),
    "1x1": Case(
        F.conv2d, lambda x, w: np.tensordot(x, w[:, :, 0, 0], ((1,), (1,))).transpose(0, 3, 1, 2),
        [(1, 4, 4, 4), (4, 4, 1, 1)], [(8, 64, 16, 16), (64, 64, 1, 1)],
    ),
}  # fmt: skip


class Conv(Forward):
    cases: ClassVar = CASES


class ConvBackward(Both):
    cases: ClassVar = CASES
