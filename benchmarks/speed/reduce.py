"""Reductions."""

from typing import ClassVar

import numpy as np

import jitgrad as jg

from .common import Both, Case, Forward

ONE = ([(2, 4)], [(1024, 1024)])
CASES = {
    "sum": Case(jg.sum, np.sum, *ONE),
    "sum rows": Case(lambda x: jg.sum(x, 1), lambda x: x.sum(1), *ONE),
    "sum columns": Case(lambda x: jg.sum(x, 0), lambda x: x.sum(0), *ONE),
    "var rows": Case(lambda x: jg.var(x, 1), lambda x: x.var(1, ddof=1), *ONE),
}


class Reduce(Forward):
    cases: ClassVar = {**CASES, "argmax rows": Case(lambda x: jg.argmax(x, 1), lambda x: x.argmax(1), *ONE)}


class ReduceBackward(Both):
    cases: ClassVar = CASES
