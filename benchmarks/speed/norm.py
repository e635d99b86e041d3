"""Normalization."""

from typing import ClassVar

import numpy as np

import jitgrad.nn.functional as F  # noqa: N812

from .common import Both, Case, Forward


def normalized(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """x minus its mean over dims, by its standard deviation."""
    return (x - x.mean(dims, keepdims=True)) / np.sqrt(x.var(dims, keepdims=True) + 1e-5)


CASES = {
    "layer_norm": Case(
        lambda x, w, b: F.layer_norm(x, w.shape, w, b), lambda x, w, b: normalized(x, (1,)) * w + b,
        [(2, 4), (4,), (4,)], [(1024, 1024), (1024,), (1024,)],
    ),
    "batch_norm": Case(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: normalized(x, (0, 2, 3)) * w[:, None, None] + b[:, None, None],
        [(2, 3, 2, 2), (3,), (3,)], [(16, 32, 32, 32), (32,), (32,)],
    ),
}  # fmt: skip


class Norm(Forward):
    cases: ClassVar = CASES


class NormBackward(Both):
    cases: ClassVar = CASES
