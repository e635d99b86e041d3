"""The base functions of the scalar formulas on a card, and in the simulator, whose threads are plain Python."""

from __future__ import annotations

import math

from jitgrad.kernels import scalars
from jitgrad.kernels.jit import SIMULATED, cuda_jit

if SIMULATED:
    exp, log, sqrt, tanh, erf, normal_cdf, sin, cos, floor, fabs, power = (getattr(scalars, name) for name in scalars.BASE)
else:

    @cuda_jit(device=True)
    def exp(x):
        return math.exp(x)

    @cuda_jit(device=True)
    def log(x):
        return math.log(x)

    @cuda_jit(device=True)
    def sqrt(x):
        return math.sqrt(x)

    @cuda_jit(device=True)
    def tanh(x):
        return math.tanh(x)

    @cuda_jit(device=True)
    def erf(x):
        return math.erf(x)

    @cuda_jit(device=True)
    def normal_cdf(x):
        half = type(x)(0.5)
        return half * math.erfc(-x * math.sqrt(half))

    @cuda_jit(device=True)
    def sin(x):
        return math.sin(x)

    @cuda_jit(device=True)
    def cos(x):
        return math.cos(x)

    @cuda_jit(device=True)
    def floor(x):
        return math.floor(x)

    @cuda_jit(device=True)
    def fabs(x):
        return math.fabs(x)

    @cuda_jit(device=True)
    def power(a, b):
        return math.pow(a, b)
