"""Threads of the parallel kernels: an OpenMP pool, or none.

Numba's other pool, workqueue, is slower than one thread on most kernels and aborts when two Python threads call it,
so it is never used. A forked child has no pool (OpenMP kills a child that uses its parent's), it runs the serial
forms.
"""

from __future__ import annotations

import os
import threading

import numba
import numpy as np
from numba.core import config

from jitgrad.kernels import PARALLEL_MIN
from jitgrad.kernels.cache import say

config.THREADING_LAYER = "omp"

_threads: int | None = None  # None: not yet known, because looking loads libgomp


class _Local(threading.local):
    threads = 0  # what Numba was told in this thread; its setting is per thread, ours is for the process
    buffer = np.empty(0, np.uint8)


_local = _Local()


def _default() -> int:
    """NUMBA_NUM_THREADS, OMP_NUM_THREADS, or the cores this process may use; 1 without an OpenMP runtime."""
    count = int(config.NUMBA_NUM_THREADS)
    if "NUMBA_NUM_THREADS" not in os.environ:
        chosen = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
        if chosen.isdigit() and int(chosen) > 0:
            count = min(count, int(chosen))
    if config.DISABLE_JIT or count == 1:
        return 1
    try:
        from numba.np.ufunc import omppool  # noqa: F401
    except ImportError:
        say("no OpenMP runtime (libgomp) could be loaded, kernels run on one thread.")
        return 1
    return count


def get_num_threads() -> int:
    """Number of threads that a parallel kernel may use."""
    global _threads
    if _threads is None:
        _threads = _default()
    return _threads


def set_num_threads(n: int) -> None:
    """Sets the number of threads that parallel kernels may use, for all Python threads of the process.

    At most the number the pool is made with: NUMBA_NUM_THREADS, or the cores this process may use. A forked child and a
    process without OpenMP stay at 1.
    """
    global _threads
    if n < 1:
        raise ValueError(f"The number of threads must be at least 1, not {n}.")
    limit = 1 if threading_layer() == "serial" else int(config.NUMBA_NUM_THREADS)
    _threads = min(int(n), limit)


def threading_layer() -> str:
    """ "omp" where parallel kernels have a pool of threads, "serial" where they have none."""
    if _forked or config.DISABLE_JIT or config.NUMBA_NUM_THREADS == 1:
        return "serial"
    try:
        from numba.np.ufunc import omppool  # noqa: F401
    except ImportError:
        return "serial"
    return "omp"


def pays(work: int, minimum: int = PARALLEL_MIN) -> bool:
    """Whether the parallel form of a kernel is worth it: enough work, and threads to do it."""
    if work < minimum:
        return False
    threads = _threads or get_num_threads()
    if threads == 1:
        return False
    if _local.threads != threads:
        numba.set_num_threads(threads)
        _local.threads = threads
    return True


_forked = False


def _serial() -> None:
    global _threads, _forked
    _threads = 1
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_serial)


def workspace(size: int, dtype: np.dtype | type) -> np.ndarray:
    """A 1-D array aligned to 64 bytes, of any numbers; the next call in the same thread gives the same memory again.

    Its memory begins as zeros: kernels also multiply what lies behind their numbers, and what Python left there, addresses most of all,
    are denormal numbers, with which a convolution takes several times as long.
    """
    dtype = np.dtype(dtype)
    need = size * dtype.itemsize
    buffer = _local.buffer
    if buffer.size < need:
        memory = np.zeros(need + 64, np.uint8)
        start = -memory.ctypes.data % 64
        buffer = _local.buffer = memory[start : start + need]
    return buffer[:need].view(dtype)
