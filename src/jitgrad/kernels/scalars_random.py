"""Random numbers from counters, as plain scalar functions that the cpu and the cuda kernels compile alike.

Philox4x32-10: J. Salmon, M. Moraes, R. Dror, D. Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (2011).
All words are uint64 values below 2**32, masked, so that they are the same with and without compilation.

Element i of 32-bit draws (bits, float32, dropout) takes lane i % 4 of counter offset + i // 4; element i of 64-bit draws
(float64, randint, permutation) takes lanes 2 * (i % 2) and 2 * (i % 2) + 1 of counter offset + i // 2.
"""

from __future__ import annotations

import math

import numpy as np

_MASK = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_8 = np.uint64(8)
_11 = np.uint64(11)
_TWO_PI = 2.0 * math.pi


def counters(n: int, bits: int) -> int:
    """How far n draws of 32 or 64 bits move the offset."""
    return -(-n // (128 // bits))


def philox_words(c0, c1, c2, c3, k0, k1):
    """Four lanes of 32 random bits from four counter words and two key words."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _WORD) ^ c1 ^ k0, p1 & _MASK, (p0 >> _WORD) ^ c3 ^ k1, p0 & _MASK
        k0 = (k0 + _W0) & _MASK
        k1 = (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def low_word(n):
    """The low 32 bits of an int64."""
    return np.uint64(n) & _MASK


def high_word(n):
    """The high 32 bits of an int64."""
    return np.uint64(n) >> _WORD


def join_words(low, high):
    """64 random bits from two lanes."""
    return (high << _WORD) | low


def unit_float32(word):
    """[0, 1) in steps of 2**-24."""
    return np.float32(word >> _8) * np.float32(2.0**-24)


def unit_float64(word):
    """[0, 1) in steps of 2**-53, from 64 bits."""
    return np.float64(word >> _11) * 2.0**-53


def normal_radius(u):
    """Box-Muller: the distance from 0 of a pair of normal numbers; u in (0, 1]."""
    return math.sqrt(-2.0 * math.log(u))


def normal_first(radius, u):
    """Box-Muller: the even element of the pair; u in [0, 1)."""
    return radius * math.cos(_TWO_PI * u)


def normal_second(radius, u):
    """Box-Muller: the odd element of the pair; u in [0, 1)."""
    return radius * math.sin(_TWO_PI * u)
