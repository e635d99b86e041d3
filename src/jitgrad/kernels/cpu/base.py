"""The base functions of the scalar formulas on the CPU.

The functions of the C library are called once per element; exp, log, tanh and the float32 erf and power here are plain
arithmetic without branches, which LLVM turns into vector code. Errors are at most about 2 units in the last place.
Methods: range reduction as in J.-M. Muller, "Elementary Functions" (2016), chapter 11; erf by the two ranges of N.
Juffa's single-precision erff.
"""

from __future__ import annotations

import math

import numpy as np

from jitgrad.kernels.cpu.base_tools import LOG2_E, ldexp, pick, two_versions
from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd_code import WIDE

# e^x = 2^n e^r with |r| <= ln(2) / 2. ln 2 is split in two, so that n times its first part is exact. The float32 polynomials have
# the least largest error on their interval.

SHIFT = np.float32(1.5 * 2**23)  # a float32 plus this has n, the nearest whole number, in its low bits
SIGN = np.int32(-(2**31))


@njit(inline=True)
def _reduced32(x):
    """x / ln 2 + SHIFT, whose bits end in n, and r"""
    shifted = x * np.float32(LOG2_E) + SHIFT
    n = shifted - SHIFT
    r = x - n * np.float32(0.693145751953125)
    return shifted, r - n * np.float32(1.42860677e-06)


@njit(inline=True)
def _expm1_reduced32(r):
    """e^r - 1"""
    p = np.float32(0.0013814467)
    p = p * r + np.float32(0.008368781)
    p = p * r + np.float32(0.041668394)
    p = p * r + np.float32(0.1666652)
    p = p * r + np.float32(0.49999993)
    return r * r * p + r


@njit(inline=True)
def _exp_reduced32(r):
    """e^r"""
    p = np.float32(0.0013814467)
    p = p * r + np.float32(0.008368781)
    p = p * r + np.float32(0.041668394)
    p = p * r + np.float32(0.1666652)
    p = p * r + np.float32(0.49999993)
    p = p * r + np.float32(1)
    return p * r + np.float32(1)


@njit(inline=True)
def _scaled32(y, shifted):
    """y 2^n by an addition to the exponent's bits, where y and the result are neither 0 nor subnormal nor too large"""
    return np.int32(np.float32(y).view(np.int32) + (np.float32(shifted).view(np.int32) << np.int32(23))).view(np.float32)


@njit(inline=True)
def _two_factors32(y, shifted, x):
    """y 2^n as (y 2^(n + 32)) 2^-32 or (y 2^(n - 1)) 2, since 2^n may be subnormal or too large"""
    bias, factor = np.int32((127 - 1) << 23), np.float32(2)
    if x < np.float32(0):
        bias, factor = np.int32((127 + 32) << 23), np.float32(2.0**-32)
    power = np.int32((np.float32(shifted).view(np.int32) << np.int32(23)) + bias).view(np.float32)
    return y * power * factor


@njit(inline=True)
def _one_scale32(y, shifted, x):
    """y 2^n, by the instruction that AVX-512 has for it"""
    return ldexp(y, np.int32(np.float32(shifted).view(np.int32) - np.int32(0x4B400000)))  # less the bits of SHIFT


_times_two_to = _one_scale32 if WIDE else _two_factors32


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
def _two_to64(n):
    return np.int64((np.int64(n) + 1023) << 52).view(np.float64)


@njit(inline=True)
def _exp32(x):
    inside = np.float32(89.0) if x > np.float32(89.0) else x  # a NaN stays
    inside = np.float32(-105.0) if inside < np.float32(-105.0) else inside
    shifted, r = _reduced32(inside)
    return _times_two_to(_exp_reduced32(r), shifted, inside)


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
def _with_sign32(size, x):
    """size >= 0 with the sign of x; by bits, because LLVM sees no vector code in a comparison's branch"""
    return np.int32(np.float32(size).view(np.int32) | (np.float32(x).view(np.int32) & SIGN)).view(np.float32)


@njit(inline=True)
def _tanh32(x):
    size = np.float32(abs(x))
    inside = np.float32(10.0) if size > np.float32(10.0) else size  # a NaN stays
    shifted, r = _reduced32(inside + inside)
    scale = _scaled32(np.float32(1.0), shifted)
    d = scale * _expm1_reduced32(r) + (scale - np.float32(1.0))
    return _with_sign32(d / (d + np.float32(2.0)), x)


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
    small = x < np.float32(1.1754944e-38)
    normal = pick(small, x * np.float32(2.0**25), x)
    start = pick(small, np.int32(0x3F3504F3 + (25 << 23)), np.int32(0x3F3504F3))  # so that the exponent's bits count from sqrt(1/2)
    bits = np.int32(np.float32(normal).view(np.int32) - start)
    n = np.float32(np.int32(bits >> np.int32(23)))
    f = np.int32((bits & np.int32(0x7FFFFF)) + np.int32(0x3F3504F3)).view(np.float32) - np.float32(1.0)
    p = np.float32(-0.076345080)
    p = p * f + np.float32(0.12761581)
    p = p * f + np.float32(-0.13160183)
    p = p * f + np.float32(0.14201758)
    p = p * f + np.float32(-0.16623357)
    p = p * f + np.float32(0.20001227)
    p = p * f + np.float32(-0.25000821)
    p = p * f + np.float32(0.33333332)
    p = p * f + np.float32(-0.5)
    y = p * (f * f) + (n * np.float32(-2.12194440e-4) + f)
    y = n * np.float32(0.693359375) + y
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
    size = np.float32(abs(x))
    t = np.float32(4.0) if size > np.float32(4.0) else size  # a NaN stays
    z = t * t
    far = np.float32(-1.72853470e-5) * t + np.float32(3.83197126e-4)
    u = np.float32(-3.88396438e-3) * t + np.float32(2.42546219e-2)
    far = far * z + u
    far = far * t + np.float32(-1.06777877e-1)
    far = far * t + np.float32(-6.34846687e-1)
    far = far * t + np.float32(-1.28717512e-1)
    far = far * t - t
    shifted = far * np.float32(LOG2_E) + SHIFT
    far = np.float32(1.0) - _scaled32(_exp_reduced32(far - (shifted - SHIFT) * np.float32(math.log(2))), shifted)  # less than 1/2 is scaled
    near = np.float32(-5.96761703e-4)
    near = near * z + np.float32(4.99119423e-3)
    near = near * z + np.float32(-2.67681349e-2)
    near = near * z + np.float32(1.12819925e-1)
    near = near * z + np.float32(-3.76125336e-1)
    near = near * z + np.float32(1.28379166e-1)
    near = near * t + t
    return _with_sign32(pick(t > np.float32(0.927734375), far, near), x)


@njit(inline=True)
def _erf64(x):
    return math.erf(x)


# log2 of the probability of a number above s > 0: s times a polynomial, less 1; within 1e-7 up to 5, above it falls faster than it should.


@njit(inline=True)
def _normal_cdf32(x):
    s = np.float32(abs(x))
    p = np.float32(-2.5797021e-8)
    p = p * s + np.float32(7.6085606e-7)
    p = p * s + np.float32(-9.7144348e-6)
    p = p * s + np.float32(6.8052468e-5)
    p = p * s + np.float32(-2.4717664e-4)
    p = p * s + np.float32(-7.4167671e-5)
    p = p * s + np.float32(7.0449808e-3)
    p = p * s + np.float32(-5.2511723e-2)
    p = p * s + np.float32(-0.45919695)
    p = p * s + np.float32(-1.1511069)
    p = p * s - np.float32(1.0)
    p = np.float32(-150.0) if p < np.float32(-150.0) else p  # a NaN stays
    shifted = p + SHIFT
    above = _times_two_to(_exp_reduced32((p - (shifted - SHIFT)) * np.float32(math.log(2))), shifted, p)
    return pick(x < np.float32(0.0), above, np.float32(1.0) - above)


@njit(inline=True)
def _normal_cdf64(x):
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


_exp = two_versions(_exp32, _exp64)
_log = two_versions(_log32, _log64)
_tanh = two_versions(_tanh32, _tanh64)
_erf = two_versions(_erf32, _erf64)
_normal_cdf = two_versions(_normal_cdf32, _normal_cdf64)


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
def normal_cdf(x):
    return _normal_cdf(x)


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


# |a|^b = 2^(b log2 |a|) in float64, whose digits and exponents are enough for any float32. With m = |a| / 2^n in [sqrt(1/2), sqrt(2))
# log2 m = 2 / ln(2) artanh((m - 1) / (m + 1)), by the series of artanh.


@njit(inline=True)
def _log2_of_size(a):
    """log2 |a| in float64 of a float32, to about 10 digits"""
    size = np.float32(abs(a))
    normal = size if size >= np.float32(1.1754944e-38) else size * np.float32(2.0**25)
    bits = np.int32(np.float32(normal).view(np.int32) - np.int32(0x3F3504F3))
    n = float(np.int32(bits >> np.int32(23))) - (0.0 if size >= np.float32(1.1754944e-38) else 25.0)
    f = float(np.int32((bits & np.int32(0x7FFFFF)) + np.int32(0x3F3504F3)).view(np.float32)) - 1.0
    s = f / (f + 2.0)
    z = s * s
    p = 2 * LOG2_E / 11
    p = p * z + 2 * LOG2_E / 9
    p = p * z + 2 * LOG2_E / 7
    p = p * z + 2 * LOG2_E / 5
    p = p * z + 2 * LOG2_E / 3
    y = s * (p * z + 2 * LOG2_E) + n
    y = pick(size < np.float32(np.inf), y, float(size))  # infinity and NaN
    return pick(size == np.float32(0), -np.inf, y)


@njit(inline=True)
def _exp2_rounded(x):
    """2^x in float32 of a float64"""
    inside = 130.0 if x > 130.0 else x
    inside = -160.0 if inside < -160.0 else inside
    shifted = inside + 1.5 * 2.0**52
    r = (inside - (shifted - 1.5 * 2.0**52)) * math.log(2)
    p = 0.0013814466979970587
    p = p * r + 0.008368780456853003
    p = p * r + 0.04166839421603272
    p = p * r + 0.16666520107444832
    p = p * r + 0.49999993412468663
    y = (r * r * p + r) + 1.0
    y = np.int64(np.float64(y).view(np.int64) + (np.float64(shifted).view(np.int64) << 52)).view(np.float64)
    return np.float32(pick(x == x, y, x))


@njit(inline=True)
def _power32(a, b):
    half = np.float32(0.5) * b
    whole = np.floor(b) == b
    odd = whole & (np.floor(half) != half)
    y = _exp2_rounded(float(b) * _log2_of_size(a))
    y = pick(odd, _with_sign32(y, a), y)
    y = pick((a < np.float32(0)) & (a > np.float32(-np.inf)) & (not whole), np.float32(np.nan), y)
    endless = (a == np.float32(-1)) & (np.float32(abs(b)) == np.float32(np.inf))
    return pick((b == np.float32(0)) | (a == np.float32(1)) | endless, np.float32(1), y)


@njit(inline=True)
def _power64(a, b):
    return a**b


_power = two_versions(_power32, _power64)


@njit(inline=True)
def power(a, b):
    return _power(a, b)
