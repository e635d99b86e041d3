"""Arrays by the place of their address in memory, for kernels that take any number of arrays.

A tuple of arrays would compile anew for each number of them.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from jitgrad.kernels.cpu.views import DATA_IN_HEADER, HEADER, address
from jitgrad.kernels.jit import DISABLED, njit

OFFSET = HEADER if DATA_IN_HEADER else 0


def table_of(arrays: list[np.ndarray], more: list[int]) -> np.ndarray:
    """The places where the addresses of arrays stand, and more numbers behind them; keep the arrays while the table is used."""
    if DATA_IN_HEADER:  # the place is a known number of bytes behind the array object
        return np.array([*map(id, arrays), *more])
    held = np.array([address(x) for x in arrays])
    table = np.array([address(held) + held.itemsize * i for i in range(len(arrays))] + more).view(_Held)
    table.held = held
    return table.view(np.ndarray)


class _Held(np.ndarray):
    """An array that keeps another alive: views of it hold it as their base."""

    held: np.ndarray


def _plain_array_at(place, first, last, like):  # type: ignore[no-untyped-def]
    at = ctypes.c_ssize_t.from_address(int(place) + OFFSET).value + int(first) * like.itemsize
    return np.frombuffer((ctypes.c_char * (int(last - first) * like.itemsize)).from_address(at), like.dtype)


@intrinsic
def _pointer(typingctx, place, like):  # type: ignore[no-untyped-def]
    """The address that stands at a place, as a pointer to numbers of like's dtype."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        where = builder.inttoptr(builder.add(args[0], ir.Constant(ir.IntType(64), OFFSET)), ir.IntType(64).as_pointer())
        return builder.inttoptr(builder.load(where), context.get_value_type(sig.return_type))

    return types.CPointer(like.dtype)(types.int64, like), codegen


@njit(inline=True)
def _array_at(place, first, last, like):
    """Elements first to last - 1 of the array, C-contiguous and of like's dtype, whose address stands at a place."""
    return carray(_pointer(place, like), last)[first:last]


array_at = _plain_array_at if DISABLED else _array_at
