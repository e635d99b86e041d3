"""What can be asked about CUDA cards."""

from __future__ import annotations

from jitgrad.autograd import as_device
from jitgrad.errors import DeviceError


def is_available() -> bool:
    """Whether a CUDA card (or numba's simulator of one) can be used.

    >>> import jitgrad as jg
    >>> jg.cuda.is_available() == (jg.cuda.device_count() == 1)
    True
    """
    try:
        as_device("cuda")
    except DeviceError:
        return False
    return True


def device_count() -> int:
    """Number of cards that can be used: 1 or 0, since only the first is."""
    return int(is_available())
