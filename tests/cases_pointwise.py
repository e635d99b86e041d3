"""Rows of the op table: elementary functions, rounding, bounds, questions, activations."""

from __future__ import annotations

import numpy as np
from op_case import BOOL, FLOATS, INT, OpCase, X, bools, ints

NUMBERS = (*FLOATS, *INT)
ANY = (*NUMBERS, *BOOL)
EDGES = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan])
LARGE = np.array([-1e4, -200.0, -90.0, -20.5, -1e-6, 0.0, 1e-6, 20.5, 90.0, 200.0, 1e4])

SMOOTH = [
    *(OpCase(op, [(3, 4)]) for op in ("sin", "cos", "erf", "expm1", "square")),
    *(OpCase(op, [(3, 4)], domain="positive") for op in ("log1p", "rsqrt", "reciprocal")),
    *(OpCase(op, [EDGES]) for op in ("sin", "cos", "erf", "expm1", "log1p", "reciprocal", "square")),
    OpCase("rsqrt", [EDGES[[0, 2, 3, 4, 5, 6]]]),
    *(OpCase(op, [ints(1, 2)]) for op in ("sin", "cos", "erf", "expm1", "log1p", "rsqrt", "reciprocal", "square")),
    OpCase("expm1", [np.array([-1e3, -1e-5, 1e-5, 1e3])], dtypes=("float64",), grad=False),
    OpCase("log1p", [np.array([-1e-12, 1e-12, 1e30])], dtypes=("float64",)),
    OpCase("log1p", [np.array([1e-30, 1e20, 1.6e38, 3.4e38])], grad=False),
    OpCase("sin", [()]),
    OpCase("cos", [(0, 3)]),
    OpCase("square", [bools(True, False)], reference=lambda x: x.astype(np.int64)),
]

STEPS = [
    OpCase("abs", [(3, 4)], domain="away", dtypes=NUMBERS),
    OpCase("abs", [EDGES[:6]], tol=0),
    OpCase("abs", [np.array([np.nan, -1.0])], deviates="sign of NaN"),
    OpCase("abs", [ints(0, 3, 255, dtype="uint8")]),
    OpCase("abs", [ints(-128, -5, 5, dtype="int8")]),
    OpCase("sign", [(3, 4)], domain="away", dtypes=NUMBERS),
    OpCase("sign", [EDGES[:6]], grad=False),
    OpCase("sign", [EDGES], deviates="sign of NaN"),
    *(OpCase(op, [(3, 4)], domain="away", dtypes=NUMBERS) for op in ("floor", "ceil", "round")),
    *(OpCase(op, [EDGES], grad=False) for op in ("floor", "ceil", "round")),
    OpCase("floor", [np.array([-2.5, -1e-9, 0.5, 8388609.0, -3e15])], grad=False, tol=0),
    OpCase("ceil", [np.array([-2.5, 1e-9, 0.5, 8388609.0, 3e15])], grad=False),
    OpCase("round", [np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, 8388609.0, 3e15])], grad=False),
    OpCase("round", [np.array([1.2345, -2.674, 1e4])], {"decimals": 2}, grad=False),
    OpCase("round", [np.array([1234.5, -26.0])], {"decimals": -2}, grad=False),
]

BOUNDS = [
    *(OpCase(op, [(3, 4), (4,)], dtypes=ANY) for op in ("maximum", "minimum")),
    *(OpCase(op, [(3, 4), (4,)], domain="ties") for op in ("maximum", "minimum")),
    *(OpCase(op, [EDGES[:, None].copy(), EDGES]) for op in ("maximum", "minimum")),
    OpCase("maximum", [ints(1, 5), np.array([2.5, 0.5], np.float32)]),
    OpCase("minimum", [(3, 1), ()]),
    OpCase("clamp", [(3, 4), -0.5, 0.5], dtypes=FLOATS),
    OpCase("clamp", [(3, 4)], {"min": 0.1}),
    OpCase("clamp", [(3, 4)], {"max": 0}, dtypes=NUMBERS),
    OpCase("clamp", [(3, 4), X(4), X(3, 1)]),
    OpCase("clamp", [(3, 4), 1.0, -1.0]),
    OpCase("clamp", [np.array([-1.0, 0.0, 0.5, 1.0, np.nan, np.inf]), 0.0, 1.0]),
    OpCase("clamp", [ints(-3, 0, 3), 0.5, 2.5]),
    OpCase("x.clamp", [(0, 4)], {"min": 0.0}),
]

QUESTIONS = [
    *(OpCase(op, [EDGES]) for op in ("isnan", "isinf", "isfinite", "logical_not")),
    *(OpCase(op, [(3, 4)], dtypes=ANY) for op in ("isnan", "isinf", "isfinite")),
    OpCase("logical_not", [(3, 4)], domain="ties", dtypes=ANY),
    *(OpCase(op, [(3, 4), (4,)], domain="ties", dtypes=ANY) for op in ("logical_and", "logical_or")),
    OpCase("logical_and", [bools(True, False), np.array([np.nan, 1.0])]),
]

_FINITE = np.array([0.0, -0.0, 1.0, -1.0, np.inf, np.nan])
ACTIVATION = [
    OpCase("relu", [(3, 4)], domain="away", dtypes=NUMBERS),
    OpCase("F.relu", [(1,)], domain="away"),
    OpCase("F.relu", [X(3, 4, grad=False)], {"inplace": True}, writes=(0,), layouts=False),
    OpCase("relu", [EDGES], tol=0),
    OpCase("F.gelu", [(3, 4)]),
    OpCase("F.gelu", [np.array([-12.0, -3.0, 0.0, 1e-3, 3.0, 12.0])]),
    OpCase("F.gelu", [np.array([0.0, -0.0, -1e3, 1e3, np.nan])]),
    OpCase("F.gelu", [np.full(16, np.inf)], dtypes=("float32",), deviates="gelu of inf"),
    OpCase("F.gelu", [(3, 4)], {"approximate": "tanh"}),
    OpCase("F.gelu", [np.array([-1e3, -12.0, -3.0, 0.0, 1e-3, 3.0, 12.0, 1e3, np.nan])], {"approximate": "tanh"}),
    OpCase("sigmoid", [(3, 4)]),
    OpCase("sigmoid", [LARGE]),
    OpCase("sigmoid", [EDGES]),
    OpCase("F.sigmoid", [ints(-1, 2)]),
    OpCase("F.tanh", [(2, 3)]),
    OpCase("F.silu", [(3, 4)]),
    OpCase("F.silu", [LARGE]),
    OpCase("F.silu", [_FINITE]),
    OpCase("F.silu", [X(3, 4, grad=False)], {"inplace": True}, writes=(0,), layouts=False),
    OpCase("F.leaky_relu", [(3, 4)], domain="away"),
    OpCase("F.leaky_relu", [(3, 4), 0.3], domain="away"),
    OpCase("F.leaky_relu", [EDGES, 0.5]),
    OpCase("F.leaky_relu", [X(3, 4, grad=False)], {"inplace": True}, writes=(0,), layouts=False),
    OpCase("F.elu", [(3, 4)], domain="away"),
    OpCase("F.elu", [(3, 4)], {"alpha": 0.5}, domain="away"),
    OpCase("F.elu", [LARGE[LARGE != 0]], second=False),
    OpCase("F.elu", [np.full(64, np.nan)]),
    OpCase("F.elu", [np.full(3, np.nan)], deviates="elu of NaN"),
    OpCase("F.elu", [EDGES[:6]]),
    OpCase("F.elu", [X(3, 4, grad=False)], {"inplace": True}, writes=(0,), layouts=False),
    OpCase("F.softplus", [(3, 4)]),
    OpCase("F.softplus", [(3, 4)], {"beta": 2.0, "threshold": 1.0}, domain="away"),
    OpCase("F.softplus", [LARGE], second=False),
    OpCase("F.softplus", [EDGES]),
]
