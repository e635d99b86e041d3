"""Calls the oracle of a row."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
from op_case import OpCase, Operand, mapped

COMPUTED = {"float", "double", "half", "long", "int", "bool", "to", "type_as"}  # about dtypes: operands keep theirs


def expected(case: OpCase, args: Any, kwargs: Any) -> tuple[list[Any], list[Any]]:
    """What the oracle returns for the operands in float64, as a list, and its arguments (it may have written to some)."""
    keep = case.name in COMPUTED

    def plain(x: Operand) -> Any:
        return x.array.astype(np.float64) if x.array.dtype.kind == "f" and not keep else x.array.copy()

    args, kwargs = mapped(args, plain), mapped(kwargs, plain)
    kwargs.pop("dtype", None)
    oracle = case.reference or getattr(naive, case.name)
    with np.errstate(all="ignore"):
        y = oracle(*args, **kwargs)
    if case.inplace:
        with np.errstate(all="ignore"):
            y = np.broadcast_to(np.asarray(y).astype(args[0].dtype), args[0].shape)
    return (list(y) if isinstance(y, (tuple, list)) else [np.asarray(y)]), args
