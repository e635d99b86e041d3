"""Softmax and losses."""

from typing import ClassVar

import numpy as np

import jitgrad as jg
import jitgrad.nn.functional as F  # noqa: N812

from .common import Both, Case, Forward, ints


def log_softmax(x: np.ndarray) -> np.ndarray:
    """The stable form."""
    z = x - x.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def cross_entropy(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean over rows."""
    return -log_softmax(x)[np.arange(len(x)), labels].mean()


ONE = ([(2, 4)], [(1024, 1000)])
CASES = {
    "softmax": Case(lambda x: jg.softmax(x, 1), lambda x: np.exp(log_softmax(x)), *ONE),
    "cross_entropy": Case(F.cross_entropy, cross_entropy, [(2, 4), ints(4, 2)], [(1024, 1000), ints(1000, 1024)]),
}


class SoftmaxLoss(Forward):
    cases: ClassVar = CASES


class SoftmaxLossBackward(Both):
    cases: ClassVar = CASES
