"""Rows of the op table: copies, casts, creation, random draws."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_case import BOOL, FLOATS, INT, OpCase, The, ints

ANY = (*FLOATS, *INT, *BOOL)
_DTYPE = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "bool": "bool"}


def _cast(name: str) -> Any:
    return lambda x, *_, **__: x.astype(_DTYPE[name])


def _shaped(shape: tuple[int, ...]) -> Any:
    return lambda y: y.shape == shape


COPIES = [
    OpCase("clone", [(3, 4)], dtypes=ANY),
    OpCase("clone", [()]),
    OpCase("clone", [(0, 2)]),
    OpCase("x.contiguous", [(3, 4)], dtypes=ANY),
    OpCase("x.detach", [(3, 4)]),
    OpCase("x.cpu", [(3, 4)]),
    *(OpCase(f"x.{name}", [np.array([0.0, 1.0, 2.5, -3.0])], reference=_cast(name), grad=name == "double") for name in _DTYPE),
    *(OpCase(f"x.{name}", [ints(0, 1, 5)], reference=_cast(name)) for name in _DTYPE),
    OpCase("x.to", [(3,), "cpu"], reference=lambda x, _: x),
    OpCase("x.to", [(3,), ints(1)], reference=lambda x, _: np.trunc(x).astype(np.int64)),
    OpCase("x.to", [ints(1, 2), (1,)], reference=lambda x, y: x.astype(y.dtype)),
    OpCase("x.type_as", [(3,), np.zeros(1, np.float32)], reference=lambda x, y: x.astype(np.float32), grad=False),
    OpCase("x.type_as", [(3,), ints(0)], reference=lambda x, y: np.trunc(x).astype(np.int64)),
]

NEW = [
    OpCase("zeros", [2, 3]),
    OpCase("zeros", [The((2, 0))]),
    OpCase("zeros", [The(())]),
    OpCase("ones", [2, 3]),
    OpCase("ones", [The([2, 3])]),
    OpCase("full", [The((2, 3)), 1.5]),
    OpCase("full", [The((2,)), 7]),
    OpCase("full", [The((2,)), True]),
    OpCase("full", [The(()), 7]),
    OpCase("full", [The((2, 0)), 7]),
    OpCase("zeros_like", [(3, 4)], dtypes=ANY),
    OpCase("ones_like", [(3, 4)], dtypes=ANY),
    OpCase("arange", [5]),
    OpCase("arange", [2, 7]),
    OpCase("arange", [7, 2, -2], reference=lambda *a: np.arange(*a)),
    OpCase("arange", [0, 1, 0.25], reference=lambda *a: np.arange(*a, dtype=np.float64)),
    OpCase("arange", [0.5, 3.1]),
    OpCase("arange", [3, 3]),
    OpCase("empty", [2, 3], holds=_shaped((2, 3))),
    OpCase("empty", [The((0, 3))], holds=_shaped((0, 3))),
]

DRAWS = [
    OpCase("rand", [200], holds=lambda y: y.shape == (200,) and 0 <= y.min() < 0.1 and 0.9 < y.max() < 1),
    OpCase("rand", [The((2, 0))], holds=_shaped((2, 0))),
    OpCase("randn", [20, 50], holds=lambda y: y.shape == (20, 50) and abs(y.mean()) < 0.1 and abs(y.std() - 1) < 0.1),
    OpCase("randn", [The(())], holds=_shaped(())),
    OpCase("randint", [-2, 3, The((100,))], holds=lambda y: set(y.tolist()) == {-2, -1, 0, 1, 2}),
    OpCase("randint", [0, 1, The((2, 3))], holds=lambda y: y.shape == (2, 3) and not y.any()),
    OpCase("randperm", [20], holds=lambda y: sorted(y.tolist()) == list(range(20)) and y.tolist() != list(range(20))),
    OpCase("randperm", [0], holds=_shaped((0,))),
]

CREATE = [*COPIES, *NEW, *DRAWS]
