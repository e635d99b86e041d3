"""What the base functions are written with: a function for either float dtype, and instructions that Numba has no name for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from jitgrad.kernels.jit import DISABLED, EXACT

LOG2_E = 1 / math.log(2)


def two_versions(single: Callable[..., Any], double: Callable[..., Any]) -> Callable[..., Any]:
    """A function that kernels call, for either float dtype."""

    def either(*xs):
        raise NotImplementedError  # replaced when a kernel is compiled

    def choose(*xs):
        return {types.float32: lambda *xs: single(*xs), types.float64: lambda *xs: double(*xs)}[xs[0]]

    overload(either, jit_options={"fastmath": set(EXACT), "error_model": "numpy", "forceinline": True})(choose)
    return either


@intrinsic
def _pick(typingctx, condition, a, b):  # type: ignore[no-untyped-def]
    """a if condition else b, with both computed: LLVM may make a conditional a branch, and then uses no vectors"""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.select(*args)

    return a(types.boolean, a, a), codegen


def _plain_pick(condition, a, b):  # type: ignore[no-untyped-def]
    return a if condition else b


pick = _plain_pick if DISABLED else _pick


@intrinsic
def ldexp(typingctx, y, n):  # type: ignore[no-untyped-def]
    """y 2^n, rounded once"""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        kinds = [a.type for a in args]
        return builder.call(builder.module.declare_intrinsic("llvm.ldexp", kinds, ir.FunctionType(kinds[0], kinds)), args)

    return y(y, n), codegen
