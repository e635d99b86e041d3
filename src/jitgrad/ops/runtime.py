"""What users may say about the kernels: threads, and the compiled code on disk."""

from __future__ import annotations

from jitgrad.errors import ArgumentError
from jitgrad.kernels import jit


def get_num_threads() -> int:
    """Number of threads that a kernel may use.

    >>> import jitgrad as jg
    >>> jg.get_num_threads() >= 1
    True
    """
    return jit.get_num_threads()


def set_num_threads(num: int) -> None:
    """Set the number of threads that kernels may use, for all Python threads of the process.

    At most as many as the process may use cores, or NUMBA_NUM_THREADS. The same seed and thread count give the same bits; on another
    count sums may be added up in another order.

    >>> import jitgrad as jg
    >>> before = jg.get_num_threads()
    >>> jg.set_num_threads(1)
    >>> jg.get_num_threads()
    1
    >>> jg.set_num_threads(before)
    """
    if isinstance(num, bool) or not isinstance(num, int):
        raise TypeError(f"set_num_threads: expected an int, given {num!r}.")
    if num < 1:
        raise ArgumentError(f"set_num_threads: expected at least 1, given {num}.")
    jit.set_num_threads(num)


def clear_cache() -> None:
    """Remove all compiled kernels from disk; what this process has loaded stays usable.

    They are in ``$JITGRAD_CACHE_DIR``, or in ``jitgrad`` under ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    jit.clear_cache()
