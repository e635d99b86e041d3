"""The scalar formulas, compiled for CUDA on its base functions."""

from functools import partial

from jitgrad.kernels import scalars
from jitgrad.kernels.cuda import base
from jitgrad.kernels.jit import SIMULATED, cuda_jit

scalars.bind(globals(), base, (lambda f: f) if SIMULATED else partial(cuda_jit, device=True))
