"""Rows of the op table: in-place ops and item assignment."""

from __future__ import annotations

import numpy as np
from op_case import BOOL, FLOATS, INT, OpCase, The, at, bools, ints

NUMBERS = (*FLOATS, *INT)
ANY = (*NUMBERS, *BOOL)

INPLACE = [
    OpCase("x.add_", [(3, 4), (3, 4)], dtypes=NUMBERS),
    OpCase("x.add_", [(3, 4), (4,)], {"alpha": 2}),
    OpCase("x.add_", [(3, 4), 1.5]),
    OpCase("x.add_", [(0, 4), (4,)]),
    OpCase("x.add_", [(3,), ints(1, 2, 3)]),
    OpCase("x.sub_", [(3, 4), (3, 1)]),
    OpCase("x.sub_", [(3,), 1], dtypes=NUMBERS),
    OpCase("x.mul_", [(3, 4), (3, 4)], dtypes=NUMBERS),
    OpCase("x.mul_", [(3, 4), ()]),
    OpCase("x.mul_", [(), 3.0]),
    OpCase("x.div_", [(3, 4), (4,)], domain="away"),
    OpCase("x.div_", [(3,), 2]),
    OpCase("x.pow_", [(3, 4), 2]),
    OpCase("x.pow_", [(3,), (3,)], domain="positive"),
    OpCase("x.clamp_", [(3, 4), -0.5, 0.5]),
    OpCase("x.clamp_", [(3, 4)], {"max": 2}, dtypes=NUMBERS),
    OpCase("x.relu_", [(3, 4)], dtypes=NUMBERS),
    OpCase("x.neg_", [(3, 4)], dtypes=NUMBERS),
    *(OpCase(f"x.{name}_", [(3, 4)]) for name in ("abs", "ceil", "cos", "erf", "exp", "expm1", "floor")),
    *(OpCase(f"x.{name}_", [(3, 4)]) for name in ("round", "sigmoid", "sign", "sin", "square", "tanh")),
    *(OpCase(f"x.{name}_", [(3, 4)], domain="positive") for name in ("log", "log1p", "reciprocal", "rsqrt", "sqrt")),
    OpCase("x.fill_", [(3, 4), 2.5]),
    OpCase("x.fill_", [(3, 4), 2], dtypes=ANY),
    OpCase("x.fill_", [(3, 4), ()]),
    OpCase("x.zero_", [(3, 4)], dtypes=ANY),
    OpCase("x.zero_", [(0,)]),
    OpCase("x.copy_", [(3, 4), (3, 4)], dtypes=ANY),
    OpCase("x.copy_", [(3, 4), (4,)]),
    OpCase("x.copy_", [(2,), ints(1, 2)]),
    OpCase("op.iadd", [(3, 4), (4,)]),
    OpCase("op.isub", [(3, 4), 1]),
    OpCase("op.imul", [(3, 4), (3, 1)]),
    OpCase("op.itruediv", [(3,), 4.0]),
    OpCase("op.ipow", [(3,), 3]),
    *(OpCase("x.__setitem__", [(3, 4), key, 1.5]) for key in (at[1], at[...], at[:, 1:3], at[0, 0], at[ints(2, 0)], at[2:2], at[()])),
    *(OpCase("x.__setitem__", [(3, 4), key, 2], dtypes=ANY) for key in (at[1], at[ints(2, 0)], at[:, ::2])),
    *(OpCase("x.__setitem__", [(3, 4), key, (4,)]) for key in (at[1], at[1:], at[ints(2, 0)], at[None, 0], at[[0, 1]], at[...])),
    OpCase("x.__setitem__", [(3, 4), at[1:, :2], (2, 2)]),
    OpCase("x.__setitem__", [(3, 4), at[1], (1, 1, 4)]),
    OpCase("x.__setitem__", [(3, 4), at[:, ints(0, 3)], (3, 2)]),
    OpCase("x.__setitem__", [(3, 4), at[ints(0, 2), ints(1, -1)], (2,)]),
    OpCase("x.__setitem__", [(3, 4), at[ints(0, 2), ints(1, -1)], ()]),
    OpCase("x.__setitem__", [(3, 4), at[:, ints(1, 1)], (3, 2)], deviates="assigned twice"),
    OpCase("x.__setitem__", [(2, 3, 4), at[:, ints(0, 2), 1:], (2, 2, 3)]),
    OpCase("x.__setitem__", [(2, 3, 4), at[ints(0, 1), :, ints(3, 0)], (2, 3)]),
    OpCase("x.__setitem__", [(3, 4), The(bools(True, False, True)), (4,)]),
    OpCase("x.__setitem__", [(2, 2), The(bools([True, False], [True, True])), (3,)]),
    OpCase("x.__setitem__", [(2, 2), The(bools([False, False], [False, False])), 7.0]),
    OpCase("x.__setitem__", [(3,), at[1:], ints(4, 5)]),
    OpCase("x.__setitem__", [(3,), at[1:], np.array([0.1, 0.2], np.float32)]),
    OpCase("x.__setitem__", [(), at[...], 3.0]),
    OpCase("x.__setitem__", [(0, 3), at[:, 1], 3.0]),
]
