"""Pooling."""

from typing import ClassVar

import numpy as np

import jitgrad.nn.functional as F  # noqa: N812

from .common import Both, Case, Forward


def blocks(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) as (N, C, H / 2, 2, W / 2, 2)."""
    N, C, H, W = x.shape
    return x.reshape(N, C, H // 2, 2, W // 2, 2)


ONE = ([(1, 2, 4, 4)], [(16, 32, 32, 32)])
CASES = {
    "max": Case(lambda x: F.max_pool2d(x, 2), lambda x: blocks(x).max((3, 5)), *ONE),
    "avg": Case(lambda x: F.avg_pool2d(x, 2), lambda x: blocks(x).mean((3, 5)), *ONE),
}


class Pool(Forward):
    cases: ClassVar = CASES


class PoolBackward(Both):
    cases: ClassVar = CASES
