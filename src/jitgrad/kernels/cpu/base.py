"""The base functions of the scalar formulas on the CPU."""

from __future__ import annotations

import math

from jitgrad.kernels.jit import njit


@njit
def exp(x):
    return math.exp(x)


@njit
def log(x):
    return math.log(x)


@njit
def sqrt(x):
    return math.sqrt(x)


@njit
def tanh(x):
    return math.tanh(x)


@njit
def erf(x):
    return math.erf(x)


@njit
def power(a, b):
    return a**b
