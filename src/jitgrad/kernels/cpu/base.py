"""The base functions of the scalar formulas on the CPU.

The functions of the C library are called once per element; exp, log, tanh and the float32 erf here are plain
arithmetic without branches, which LLVM turns into vector code. Errors are at most about 2 units in the last place.
Methods: range reduction as in J.-M. Muller, "Elementary Functions" (2016), chapter 11; erf by the two ranges of N.
Juffa's single-precision erff.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from jitgrad.kernels.jit import EXACT, njit

LOG2_E = 1 / math.log(2)


def _two_versions(single: Callable[..., Any], double: Callable[..., Any]) -> Callable[..., Any]:
    """A function that kernels call, for either float dtype."""

    def either(x):
        raise NotImplementedError  # replaced when a kernel is compiled

    def choose(x):
        return {types.float32: lambda x: single(x), types.float64: lambda x: double(x)}[x]

    overload(either, jit_options={"fastmath": set(EXACT), "error_model": "numpy", "forceinline": True})(choose)
    return either


@intrinsic
def _pick(typingctx, condition, a, b):  # type: ignore[no-untyped-def]
    """a if condition else b, with both computed: LLVM may make a conditional a branch, and then uses no vectors"""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.select(*args)

    return a(types.boolean, a, a), codegen


# e^x = 2^n e^r with |r| <= ln(2) / 2; e^r - 1 by its Taylor polynomial.
# ln 2 is split in two, so that n times its first part is exact.


@njit(inline=True)
def _reduced32(x):
    """n and e^r - 1"""
    n = np.floor(x * np.float32(LOG2_E) + np.float32(0.5))
    r = x - n * np.float32(0.693359375)
    r = r - n * np.float32(-2.12194440e-4)
    p = np.float32(1 / 5040)
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(0.5)
    return n, r * r * p + r


@njit(inline=True)
def _reduced64(x):
    """n and e^r - 1"""
    n = np.floor(x * LOG2_E + 0.5)
    r = x - n * 0.6931471803691238
    r = r - n * 1.9082149292705877e-10
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 0.5
    return n, r * r * p + r


@njit(inline=True)
def _two_to32(n):
    return np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@njit(inline=True)
def _two_to64(n):
    return np.int64((np.int64(n) + 1023) << 52).view(np.float64)


@njit(inline=True)
def _exp32(x):
    inside = np.float32(90.0) if x > np.float32(90.0) else x
    inside = np.float32(-105.0) if inside < np.float32(-105.0) else inside
    inside = inside if inside == inside else np.float32(0.0)  # the conversion of a NaN to int is undefined
    n, e = _reduced32(inside)
    half = np.floor(n * np.float32(0.5))  # two factors, as 2^n may be subnormal or too large
    y = (e + np.float32(1.0)) * _two_to32(half) * _two_to32(n - half)
    return y if x == x else x


@njit(inline=True)
def _exp64(x):
    inside = 710.0 if x > 710.0 else x
    inside = -746.0 if inside < -746.0 else inside
    inside = inside if inside == inside else 0.0
    n, e = _reduced64(inside)
    half = np.floor(n * 0.5)
    y = (e + 1.0) * _two_to64(half) * _two_to64(n - half)
    return y if x == x else x


# tanh |x| = d / (d + 2) with d = e^(2|x|) - 1 = 2^n (e^r - 1) + (2^n - 1)


@njit(inline=True)
def _tanh32(x):
    size = np.float32(abs(x))
    inside = size if size < np.float32(10.0) else np.float32(10.0)  # also for NaN
    n, e = _reduced32(inside + inside)
    scale = _two_to32(n)
    d = scale * e + (scale - np.float32(1.0))
    y = d / (d + np.float32(2.0))
    y = -y if x < np.float32(0.0) else y
    return y if x == x and x != np.float32(0.0) else x


@njit(inline=True)
def _tanh64(x):
    size = abs(x)
    inside = size if size < 20.0 else 20.0
    n, e = _reduced64(inside + inside)
    scale = _two_to64(n)
    d = scale * e + (scale - 1.0)
    y = d / (d + 2.0)
    y = -y if x < 0.0 else y
    return y if x == x and x != 0.0 else x


# ln x = n ln 2 + ln m with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh((m - 1) / (m + 1)), by the series of artanh


@njit(inline=True)
def _log32(x):
    normal = x if x >= np.float32(1.1754944e-38) else x * np.float32(2.0**25)
    bits = np.float32(normal).view(np.int32) - np.int32(0x3F3504F3)  # so that the exponent's bits count from sqrt(1/2)
    exponent = np.int32(bits >> np.int32(23))
    f = np.int32((bits & np.int32(0x7FFFFF)) + np.int32(0x3F3504F3)).view(np.float32) - np.float32(1.0)
    n = np.float32(exponent) - (np.float32(0.0) if x >= np.float32(1.1754944e-38) else np.float32(25.0))
    s = f / (f + np.float32(2.0))
    z = s * s
    p = np.float32(2 / 11)
    p = p * z + np.float32(2 / 9)
    p = p * z + np.float32(2 / 7)
    p = p * z + np.float32(2 / 5)
    p = p * z + np.float32(2 / 3)
    half = np.float32(0.5) * f * f  # 2 s = f - s f, and s f = f^2 / 2 - s f^2 / 2: the large terms stay apart
    y = f - (half - (s * (half + p * z) + n * np.float32(-2.12194440e-4))) + n * np.float32(0.693359375)
    y = y if x < np.float32(np.inf) else x  # infinity and NaN
    return y if not x <= np.float32(0.0) else np.float32(-np.inf) if x == np.float32(0.0) else np.float32(np.nan)


@njit(inline=True)
def _log64(x):
    normal = x if x >= 2.2250738585072014e-308 else x * 2.0**54
    bits = np.float64(normal).view(np.int64) - 0x3FE6A09E667F3BCD
    exponent = bits >> 52
    f = np.int64((bits & 0xFFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD).view(np.float64) - 1.0
    n = float(exponent) - (0.0 if x >= 2.2250738585072014e-308 else 54.0)
    s = f / (f + 2.0)
    z = s * s
    p = 2 / 23
    p = p * z + 2 / 21
    p = p * z + 2 / 19
    p = p * z + 2 / 17
    p = p * z + 2 / 15
    p = p * z + 2 / 13
    p = p * z + 2 / 11
    p = p * z + 2 / 9
    p = p * z + 2 / 7
    p = p * z + 2 / 5
    p = p * z + 2 / 3
    half = 0.5 * f * f
    y = f - (half - (s * (half + p * z) + n * 1.9082149292705877e-10)) + n * 0.6931471803691238
    y = y if x < np.inf else x
    return y if not x <= 0.0 else -np.inf if x == 0.0 else np.nan


@njit(inline=True)
def _erf32(x):
    t = np.float32(abs(x))
    z = x * x
    far = np.float32(-1.72853470e-5) * t + np.float32(3.83197126e-4)
    u = np.float32(-3.88396438e-3) * t + np.float32(2.42546219e-2)
    far = far * z + u
    far = far * t + np.float32(-1.06777877e-1)
    far = far * t + np.float32(-6.34846687e-1)
    far = far * t + np.float32(-1.28717512e-1)
    far = far * t - t
    far = far if t < np.float32(4.0) else np.float32(-20.0)
    far = np.float32(1.0) - _exp32(far)
    far = -far if x < np.float32(0.0) else far
    near = np.float32(-5.96761703e-4)
    near = near * z + np.float32(4.99119423e-3)
    near = near * z + np.float32(-2.67681349e-2)
    near = near * z + np.float32(1.12819925e-1)
    near = near * z + np.float32(-3.76125336e-1)
    near = near * z + np.float32(1.28379166e-1)
    near = near * x + x
    y = _pick(t > np.float32(0.927734375), far, near)
    return y if x == x else x


@njit(inline=True)
def _erf64(x):
    return math.erf(x)


_exp = _two_versions(_exp32, _exp64)
_log = _two_versions(_log32, _log64)
_tanh = _two_versions(_tanh32, _tanh64)
_erf = _two_versions(_erf32, _erf64)


@njit(inline=True)
def exp(x):
    return _exp(x)


@njit(inline=True)
def log(x):
    return _log(x)


@njit(inline=True)
def sqrt(x):
    return math.sqrt(x)


@njit(inline=True)
def tanh(x):
    return _tanh(x)


@njit(inline=True)
def erf(x):
    return _erf(x)


@njit(inline=True)
def sin(x):
    return math.sin(x)


@njit(inline=True)
def cos(x):
    return math.cos(x)


@njit(inline=True)
def floor(x):
    return np.floor(x)


@njit(inline=True)
def fabs(x):
    return math.fabs(x)


@njit(inline=True)
def power(a, b):
    return a**b
