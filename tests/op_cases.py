"""THE op table: rows for every public op. Generic tests, parity with torch and the CUDA simulator read it.

A new op adds its row here, at the end of CASES or in its family's file. See op_case.py for what a row says.
"""

from __future__ import annotations

import numpy as np
from cases_create import CREATE
from cases_errors import ERRORS as FAMILY_ERRORS
from cases_inplace import INPLACE
from cases_nn import NN
from cases_pointwise import ACTIVATION, BOUNDS, QUESTIONS, SMOOTH, STEPS
from cases_shell import SHELL, SHELL_ERRORS
from cases_views import INDEXING, VIEWS
from op_case import BOOL, FLOATS, INT, OpCase, The, X, bools, ints

ANY = (*FLOATS, *INT, *BOOL)
NUMBERS = (*FLOATS, *INT)
f32, f64, f16 = np.float32, np.float64, np.float16

ARITHMETIC = [
    OpCase("add", [(3, 4), (3, 4)], dtypes=ANY),
    OpCase("add", [(3, 4), (4,)], dtypes=NUMBERS),
    OpCase("add", [(3, 1), (1, 4)]),
    OpCase("add", [(2, 3, 4), ()]),
    OpCase("add", [(), ()]),
    OpCase("add", [(0, 3), (3,)]),
    OpCase("add", [(3,), 2.5]),
    OpCase("add", [(3,), 2], dtypes=NUMBERS),
    OpCase("add", [(3,), True], dtypes=NUMBERS),
    OpCase("add", [(3, 4), (4,)], {"alpha": 0.5}),
    OpCase("add", [(3,), (3,)], {"alpha": 2}, dtypes=NUMBERS),
    OpCase("sub", [(3, 4), (3, 4)], dtypes=NUMBERS),
    OpCase("sub", [(3, 1), (2, 1, 4)], {"alpha": 3}),
    OpCase("sub", [(3,), 1.5]),
    OpCase("mul", [(3, 4), (3, 4)], dtypes=ANY),
    OpCase("mul", [(3, 1), (4,)]),
    OpCase("mul", [(1,), ()]),
    OpCase("mul", [(3,), -2.0]),
    OpCase("mul", [(2, 0), (1, 1)]),
    OpCase("div", [(3, 4), (3, 4)], domain="away", dtypes=FLOATS),
    OpCase("div", [(3,), (3,)], domain="positive", dtypes=INT),
    OpCase("div", [(2, 1, 3), (4, 1)], domain="away"),
    OpCase("div", [(3,), 4]),
    OpCase("neg", [(3, 4)], dtypes=NUMBERS),
    OpCase("neg", [()]),
    OpCase("pow", [(3, 4), 2]),
    OpCase("pow", [(3, 4), 3], dtypes=INT),
    OpCase("pow", [(3, 4), 0.5], domain="positive"),
    OpCase("pow", [(3, 4), -1.5], domain="positive"),
    OpCase("pow", [(3,), 0]),
    OpCase("pow", [(3, 4), (4,)], domain="positive"),
    OpCase("pow", [(3, 1), (4,)], domain="positive"),
    OpCase("op.add", [2, (3,)], dtypes=NUMBERS),
    OpCase("op.sub", [2.5, (3,)]),
    OpCase("op.mul", [(3,), (3,)]),
    OpCase("op.truediv", [1.0, (3,)], domain="away"),
    OpCase("op.truediv", [(3,), 2]),
    OpCase("op.pow", [2.0, (3,)]),
    OpCase("op.pow", [(3,), 2]),
    OpCase("op.neg", [(3,)]),
    OpCase("op.eq", [(3,), 1], dtypes=INT),
    OpCase("op.ne", [(3,), (3,)]),
    OpCase("op.lt", [0, (3,)]),
    OpCase("op.le", [(3,), 0]),
    OpCase("op.gt", [(3,), 0.5]),
    OpCase("op.ge", [(3,), (3,)]),
    OpCase("op.abs", [(3,)], domain="away", dtypes=NUMBERS),
]

# What dtypes promote to is for torch to confirm; the oracle says the values.
PROMOTION = [
    OpCase("add", [np.array([1, 2], f32), np.array([0.5, 0.25], f64)], dtypes=("float64",)),
    OpCase("add", [ints(1, 2), 0.5]),
    OpCase("add", [ints(1, 2), np.array([0.5, 1.5], f32)]),
    OpCase("add", [ints(1, 2, dtype="int32"), ints(3, 4)]),
    OpCase("add", [ints(1, 2, dtype="uint8"), ints(-3, 4, dtype="int8")]),
    OpCase("mul", [bools(True, False), ints(3, 4, dtype="int16")]),
    OpCase("mul", [bools(True, False), 2]),
    OpCase("mul", [bools(True, False), 0.5]),
    OpCase("mul", [(2,), np.array(2.0, f32)]),
    OpCase("mul", [np.array([1, 2], f32), np.array(2.0, f64)], dtypes=("float64",), grad=False),
    OpCase("sub", [(3,), ints(1, 2, 3)]),
    OpCase("div", [ints(1, 2), ints(4, 3)]),
    OpCase("div", [bools(True, True), ints(2, 4)]),
    OpCase("pow", [ints(2, 3), 2.0]),
    OpCase("exp", [ints(0, 1)]),
    OpCase("exp", [bools(True, False)]),
    OpCase("sqrt", [ints(4, 9)]),
    OpCase("where", [bools(True, False), ints(1, 2), 0.5]),
    OpCase("where", [bools(True, False), ints(1, 2), np.array([0.5, 1.5], f32)]),
    OpCase("lt", [ints(1, 2), 1.5]),
    OpCase("eq", [ints(1, 2, dtype="int8"), ints(1, 3)]),
    OpCase("cat", [[ints(1, 2), np.array([0.5], f32)]]),
    OpCase("stack", [[ints(1, dtype="int32"), ints(2)]]),
    OpCase("sum", [ints([1, 2], [3, 4], dtype="int32"), 0]),
    OpCase("sum", [bools(True, True, False)]),
    OpCase("sum", [ints(1, 2, dtype="uint8")]),
    OpCase("amax", [ints(3, 7, 5, dtype="uint8")]),
    OpCase("argmax", [ints(3, 7, 5, dtype="int16"), 0]),
    OpCase("argmax", [bools(False, True, True)], deviates="argmax of bools"),
    OpCase("amax", [bools(False, True)]),
]

ELEMENTARY = [
    OpCase("exp", [(3, 4)]),
    OpCase("exp", [()]),
    OpCase("exp", [(0,)]),
    OpCase("log", [(3, 4)], domain="positive"),
    OpCase("sqrt", [(3, 4)], domain="positive"),
    OpCase("tanh", [(3, 4)]),
    OpCase("tanh", [np.array([-30.0, -5.0, 1e-4, 0.3, 9.5])]),
    OpCase("eq", [(3, 4), (4,)], domain="ties", dtypes=ANY),
    OpCase("ne", [(3, 4), (4,)], domain="ties", dtypes=ANY),
    OpCase("lt", [(3, 4), (4,)], domain="ties", dtypes=ANY),
    OpCase("le", [(3, 4), (4,)], domain="ties", dtypes=ANY),
    OpCase("gt", [(3, 4), (4,)], domain="ties", dtypes=ANY),
    OpCase("ge", [(3, 4), (4,)], domain="ties", dtypes=ANY),
    OpCase("gt", [(3, 0), 0]),
    OpCase("where", [bools(True, False, True), (2, 3), (3,)], dtypes=ANY),
    OpCase("where", [bools([True], [False]), (3,), 0.5]),
    OpCase("where", [bools(True, False), 1.0, 2.0]),
    OpCase("where", [bools(True, False), (2,), ()]),
]

# Exact values at the edges: ties, zeros and their signs, infinities, NaN, exact quotients.
Z = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan])
_QUOTIENTS = np.arange(1.0, 200.0)
_PLANE = np.array(
    [[[[np.nan, 1.0, -0.0, 0.0], [2.0, np.inf, 0.0, -1.0], [np.inf, np.inf, -np.inf, -np.inf], [1.0, 2.0, -np.inf, -np.inf]]]]
)
SPECIAL = [
    OpCase("add", [Z, Z[::-1].copy()], tol=0),
    OpCase("mul", [Z[:, None].copy(), Z], tol=0),
    OpCase("sub", [Z[:, None].copy(), Z], tol=0),
    OpCase("div", [Z[:, None].copy(), Z], tol=0),
    OpCase("div", [_QUOTIENTS * 49, np.array(49.0)], tol=0, grad=False),
    OpCase("div", [_QUOTIENTS, _QUOTIENTS], tol=0, grad=False),
    OpCase("div", [np.multiply.outer(_QUOTIENTS[::8], _QUOTIENTS[::8]), _QUOTIENTS[::8]], tol=0, grad=False),
    OpCase("neg", [Z], tol=0),
    OpCase("pow", [Z[:, None].copy(), np.array([0.0, 1.0, 2.0, -1.0, 0.5, np.inf, np.nan])]),
    OpCase("pow", [np.array([-2.0, -0.5]), np.array([[3.0], [2.0], [0.0], [-3.0]])], grad=False),
    OpCase("pow", [ints(0, 1, -1, 2), ints(0, 5, 3, 62)]),
    OpCase("exp", [np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1000.0, -1000.0])]),
    OpCase("log", [Z]),
    OpCase("sqrt", [Z]),
    OpCase("tanh", [Z]),
    *(OpCase(op, [Z[:, None].copy(), Z]) for op in ("eq", "ne", "lt", "le", "gt", "ge")),
    OpCase("where", [bools(True, False), np.array([np.nan, 1.0]), np.array([2.0, np.inf])], tol=0),
    OpCase("sum", [(3, 5)], {"dim": 1}, domain="special"),
    OpCase("mean", [(3, 5)], {"dim": 1}, domain="special"),
    OpCase("sum", [np.array([1e30, 1.0, -1e30, np.inf])]),
    OpCase("amax", [(4, 6)], {"dim": 1}, domain="special", tol=0),
    OpCase("amax", [(4, 6)], {"dim": 1}, domain="ties", tol=0, second=False),
    OpCase("amax", [(4, 6)], domain="ties", tol=0, second=False),
    OpCase("max", [(4, 6), 1], domain="special", tol=0),
    OpCase("max", [(4, 6), 0], domain="ties", tol=0),
    OpCase("argmax", [(4, 6), 1], domain="special"),
    OpCase("argmax", [(4, 6), 0], domain="ties"),
    OpCase("argmax", [np.array([np.nan, 1.0, np.nan])]),
    OpCase("nonzero", [Z]),
    OpCase("F.max_pool2d", [_PLANE, 2], tol=0, grad=False),
    OpCase("F.max_pool2d", [np.array([[[[np.nan, 1.0], [np.nan, 2.0]]]]), 2], {"return_indices": True}, deviates="NaN twice"),
    OpCase("F.max_pool2d", [(1, 2, 4, 4), 2], {"return_indices": True}, domain="ties", tol=0),
    OpCase("softmax", [np.array([1000.0, 1001.0, -1000.0]), 0]),
    OpCase("log_softmax", [np.array([1e4, 0.0, -1e4]), 0]),
    OpCase("softmax", [np.array([0.0, -np.inf, 1.0]), 0]),
    OpCase("softmax", [np.array([np.nan, 0.0]), 0]),
    OpCase("var", [np.array([1e4 + 1, 1e4 + 2, 1e4 + 3])]),
    OpCase("matmul", [np.array([[0.0, np.inf]]), np.array([[1.0], [1.0]])]),
    OpCase("matmul", [np.array([[0.0, np.nan]]), np.array([[1.0], [0.0]])]),
]

REDUCE = [
    OpCase("sum", [(3, 4)], dtypes=ANY),
    OpCase("sum", [(2, 3, 4), 1]),
    OpCase("sum", [(2, 3, 4), -1, True]),
    OpCase("sum", [(2, 3, 4)], {"dim": (0, 2)}),
    OpCase("sum", [(2, 3, 4)], {"dim": (-1, 0), "keepdim": True}),
    OpCase("sum", [()]),
    OpCase("sum", [(0, 3), 0]),
    OpCase("sum", [(0,)]),
    OpCase("sum", [(1, 1)]),
    OpCase("x.sum", [(3, 4), 0]),
    OpCase("mean", [(3, 4)]),
    OpCase("mean", [(2, 3, 4)], {"dim": (0, -1)}),
    OpCase("mean", [(2, 3, 4), 1, True]),
    OpCase("mean", [(0, 3), 0], second=False),
    OpCase("mean", [(0, 3, 2)], {"dim": (0, 2)}, second=False),
    OpCase("var", [(3, 4)]),
    OpCase("var", [(2, 3, 4)], {"dim": 1}),
    OpCase("var", [(2, 3, 4)], {"dim": (0, 2), "correction": 0, "keepdim": True}),
    OpCase("var", [(1, 3)], {"dim": 0}, grad=False),
    OpCase("var", [(4, 3)], {"dim": 0, "correction": 2}),
    OpCase("amax", [(3, 4)], domain="distinct", dtypes=NUMBERS),
    OpCase("amax", [(2, 3, 4)], {"dim": (0, 2)}, domain="distinct"),
    OpCase("amax", [(2, 3, 4)], {"dim": -1, "keepdim": True}, domain="distinct"),
    OpCase("amax", [(0, 3), 1], domain="distinct"),
    OpCase("max", [(3, 4)], domain="distinct", dtypes=NUMBERS),
    OpCase("max", [(3, 4), 1], domain="distinct", dtypes=NUMBERS),
    OpCase("max", [(2, 3, 4), 0, True], domain="distinct"),
    OpCase("max", [(), 0], domain="distinct"),
    OpCase("argmax", [(3, 4)], domain="distinct", dtypes=FLOATS),
    OpCase("argmax", [(3, 4), 0], domain="distinct", dtypes=FLOATS),
    OpCase("argmax", [(2, 3, 4), -1, True], domain="distinct"),
    OpCase("argmax", [()]),
    OpCase("argmax", [(2, 3)], {"keepdim": True}, domain="distinct"),
    OpCase("argmax", [(0, 3), 1], domain="distinct"),
]

PRODUCTS = [
    OpCase("matmul", [(3,), (3,)]),
    OpCase("matmul", [(3,), (3, 4)]),
    OpCase("matmul", [(2, 3), (3,)]),
    OpCase("matmul", [(2, 3), (3, 4)], dtypes=NUMBERS),
    OpCase("matmul", [(3,), (2, 3, 4)]),
    OpCase("matmul", [ints([1, 2], [3, 4], dtype="int32"), ints([5], [6], dtype="int32")]),
    OpCase("matmul", [ints([1, 2], [3, 4], dtype="uint8"), ints([[5], [6]], [[7], [8]], dtype="uint8")]),
    OpCase("matmul", [(2, 5, 3), (3,)]),
    OpCase("matmul", [(2, 2, 3), (3, 4)]),
    OpCase("matmul", [(2, 3), (5, 3, 4)]),
    OpCase("matmul", [(2, 1, 2, 3), (5, 3, 4)]),
    OpCase("matmul", [(2, 0), (0, 3)]),
    OpCase("matmul", [(0, 2), (2, 3)]),
    OpCase("matmul", [(0, 2, 3), (3, 4)]),
    OpCase("matmul", [(1, 1), (1, 1)]),
    OpCase("matmul", [(17, 33), (33, 19)], second=False),
    OpCase("op.matmul", [(2, 3), (3, 2)]),
    OpCase("F.linear", [(4, 3), (2, 3), (2,)]),
    OpCase("F.linear", [(4, 3), (2, 3)]),
    OpCase("F.linear", [(3,), (2, 3), (2,)]),
    OpCase("F.linear", [(2, 4, 3), (5, 3), (5,)]),
    OpCase("F.linear", [(0, 3), (2, 3), (2,)]),
    OpCase("F.linear", [(1, 1), (1, 1), None]),
    OpCase("cat", [[(2, 3), (1, 3)]], dtypes=ANY),
    OpCase("cat", [[(2, 3), (2, 1), (2, 0)], 1]),
    OpCase("cat", [[(2, 3), (2, 2)], -1]),
    OpCase("cat", [[(0,), (2, 3)]]),
    OpCase("cat", [[(3,)]]),
    OpCase("cat", [The((X(2), X(3)))]),
    OpCase("stack", [[(2, 3), (2, 3)]], dtypes=ANY),
    OpCase("stack", [[(2, 3), (2, 3), (2, 3)], -1]),
    OpCase("stack", [[(), ()]]),
    OpCase("stack", [[(2, 0), (2, 0)], 1]),
]

CASES: list[OpCase] = [
    *ARITHMETIC, *PROMOTION, *ELEMENTARY, *SMOOTH, *STEPS, *BOUNDS, *QUESTIONS, *ACTIVATION, *SPECIAL,
    *REDUCE, *PRODUCTS, *VIEWS, *INDEXING, *INPLACE, *NN, *CREATE, *SHELL,
]  # fmt: skip

ERRORS: list[OpCase] = [*FAMILY_ERRORS, *SHELL_ERRORS]
