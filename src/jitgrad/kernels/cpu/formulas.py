"""The scalar formulas, compiled on the CPU's base functions."""

from functools import partial

from jitgrad.kernels import scalars
from jitgrad.kernels.cpu import base
from jitgrad.kernels.jit import DISABLED, njit

scalars.bind(globals(), scalars if DISABLED else base, partial(njit, inline=True))
