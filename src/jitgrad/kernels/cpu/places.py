"""Arrays by the place of their address in memory, for kernels that take any number of arrays.

A tuple of arrays would compile anew for each number of them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from jitgrad.kernels.cpu.views import DATA_IN_HEADER, HEADER, address
from jitgrad.kernels.jit import DISABLED, njit


def places(groups: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """For each group of arrays, equally many in each, a row of places where their addresses stand; keep the arrays while these are used."""
    if DATA_IN_HEADER:  # an array object holds the address itself
        return np.array([list(map(id, group)) for group in groups]) + HEADER
    held = np.array([[address(x) for x in group] for group in groups])
    table = (address(held) + held.itemsize * np.arange(held.size).reshape(held.shape)).view(_Held)
    table.held = held
    return table.view(np.ndarray)


class _Held(np.ndarray):
    """An array that keeps another alive: views of it hold it as their base."""

    held: np.ndarray


def _plain_array_at(place, first, last, like):  # type: ignore[no-untyped-def]
    at = ctypes.c_ssize_t.from_address(int(place)).value + int(first) * like.itemsize
    return np.frombuffer((ctypes.c_char * (int(last - first) * like.itemsize)).from_address(at), like.dtype)


@intrinsic
def _pointer(typingctx, place, like):  # type: ignore[no-untyped-def]
    """The address that stands at a place, as a pointer to numbers of like's dtype."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        where = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.inttoptr(builder.load(where), context.get_value_type(sig.return_type))

    return types.CPointer(like.dtype)(types.int64, like), codegen


@njit(inline=True)
def _array_at(place, first, last, like):
    """Elements first to last - 1 of the array, C-contiguous and of like's dtype, whose address stands at a place."""
    return carray(_pointer(place, like), last)[first:last]


array_at = _plain_array_at if DISABLED else _array_at
