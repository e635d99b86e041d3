"""Matrix products."""

from typing import ClassVar

import numpy as np

import jitgrad as jg
import jitgrad.nn.functional as F  # noqa: N812

from .common import Both, Case, Forward

CASES = {
    "matrix vector": Case(jg.matmul, np.matmul, [(4, 3), (3,)], [(1024, 1024), (1024,)]),
    "matrix matrix": Case(jg.matmul, np.matmul, [(2, 4), (4, 3)], [(512, 512), (512, 512)]),
    "batches": Case(jg.matmul, np.matmul, [(3, 2, 4), (3, 4, 2)], [(32, 64, 64), (32, 64, 64)]),
    "linear": Case(F.linear, lambda x, w, b: x @ w.T + b, [(2, 4), (3, 4), (3,)], [(256, 512), (512, 512), (512,)]),
}


class Matmul(Forward):
    cases: ClassVar = CASES


class MatmulBackward(Both):
    cases: ClassVar = CASES
