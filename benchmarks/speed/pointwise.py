"""Pointwise ops."""

from typing import ClassVar

import numpy as np

import jitgrad as jg
import jitgrad.nn.functional as F  # noqa: N812

from .common import Both, Case, Forward

ONE, TWO = ([(8,)], [(1024, 1024)]), ([(8,), (8,)], [(1024, 1024), (1024, 1024)])
CASES = {
    "add": Case(jg.add, np.add, *TWO),
    "add row": Case(jg.add, np.add, [(2, 4), (4,)], [(1024, 1024), (1024,)]),
    "exp": Case(jg.exp, np.exp, *ONE),
    "tanh": Case(jg.tanh, np.tanh, *ONE),
    "sqrt": Case(lambda x: jg.sqrt(x * x), lambda x: np.sqrt(x * x), *ONE),
    "cube": Case(lambda x: x**3, lambda x: x**3, *ONE),
    "power": Case(lambda x: (x * x) ** 1.7, lambda x: (x * x) ** 1.7, *ONE),
    "relu": Case(jg.relu, lambda x: np.maximum(x, 0), *ONE),
    "gelu": Case(F.gelu, None, *ONE),
    "where": Case(lambda x, y: jg.where(x > y, x, y), lambda x, y: np.where(x > y, x, y), *TWO),
}


class Pointwise(Forward):
    cases: ClassVar = CASES


class PointwiseBackward(Both):
    cases: ClassVar = CASES
