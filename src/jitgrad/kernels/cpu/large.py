"""Large arrays: the compiled loop of a ufunc, called for rows of any strides by all threads.

NumPy runs a ufunc on one thread. One kernel here serves the loops of all ops, which it calls by their address: nothing more is
compiled for an op because its arrays are large.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from jitgrad.kernels.cpu.views import address
from jitgrad.kernels.jit import direct, get_num_threads, njit, parallel_form, prange
from jitgrad.shapes import broadcast_shapes

Layout = tuple[tuple[int, ...], tuple[int, ...]]  # shape, strides
MOST = 4  # arrays of a loop
SHORT = 32  # numbers of a row
APART = 32  # bytes from one number of a row to the next
NEAR = 128  # numbers of a row at a time where they lie apart, so that the next rows find their lines of memory in the cache


@intrinsic
def _call(typingctx, loop, pointers, dims, steps):  # type: ignore[no-untyped-def]
    """loop(pointers, dims, steps, data) of a ufunc, all of them addresses; there is no data."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(64).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), word, word, byte])
        kinds = byte.as_pointer(), word, word
        given = [builder.inttoptr(value, kind) for value, kind in zip(args[1:], kinds, strict=True)]
        builder.call(builder.inttoptr(args[0], function.as_pointer()), [*given, ir.Constant(byte, None)])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), codegen


@njit
def _rows(plan, loop, out, a, b, c, tasks):
    """Calls a loop on all rows of arrays, of all of which the addresses are given; there may be no b and c.

    `plan`: for each dim its size, and the strides of out and the others in it. The last dim is a row; if there are few, tasks share
    each of them.
    """
    dims, arrays = plan.shape[0], plan.shape[1] - 1
    rows, length = 1, plan[dims - 1, 0]
    for d in range(dims - 1):
        rows *= plan[d, 0]
    for index in prange(tasks):
        task = np.int64(index)  # Numba counts parallel loops in uint64
        top, bottom, left, right = np.int64(0), rows, np.int64(0), length
        if rows >= 4 * tasks:
            top, bottom = task * rows // tasks, (task + 1) * rows // tasks
        else:
            left, right = task * length // tasks, (task + 1) * length // tasks
        numbers = np.empty((3, MOST), np.int64)
        begins, pointers, steps = numbers[0], numbers[1], numbers[2]
        begins[0], begins[1], begins[2], begins[arrays - 1] = a, b, c, out
        steps[:arrays] = plan[dims - 1, 1:]
        width = max(right - left, 1)
        for i in range(arrays):
            if abs(steps[i]) >= APART:
                width = NEAR
        size = np.empty(1, np.int64)
        for begin in range(left, right, width):
            size[0] = min(width, right - begin)
            for row in range(top, bottom):
                for i in range(arrays):
                    pointers[i] = begins[i] + begin * steps[i]
                rest = row
                for d in range(dims - 2, -1, -1):
                    rest, place = divmod(rest, plan[d, 0])
                    for i in range(arrays):
                        pointers[i] += place * plan[d, 1 + i]
                _call(loop, pointers.ctypes.data, size.ctypes.data, steps.ctypes.data)


_ROWS_PARALLEL = direct(parallel_form(_rows))


@lru_cache(4096)
def _plan(layouts: tuple[Layout, ...], itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...] | None, np.ndarray]:
    """Shape of the result as it lies in memory, its dims in their order if that is another, and the plan of _rows.

    The result lies as the arrays of its shape do, if they agree.
    """
    shape = broadcast_shapes(*(s for s, _ in layouts))
    orders = [sorted(range(len(s)), key=lambda d: -strides[d]) for s, strides in layouts if s == shape and min(strides, default=0) > 0]
    order = orders[0] if orders and orders.count(orders[0]) == len(orders) else list(range(len(shape)))
    stored = tuple([shape[d] for d in order])
    every = []
    for s, strides in layouts:
        lead = len(shape) - len(s)
        every.append([0 if d < lead or s[d - lead] == 1 else strides[d - lead] for d in order])
    every.append([itemsize * prod(stored[d + 1 :]) for d in range(len(stored))])
    dims: list[list[int]] = []
    for d in reversed(range(len(stored))):  # dims that lie in one run in all arrays are one
        if dims and all(strides[d] == dims[0][0] * last for strides, last in zip(every, dims[0][1:], strict=True)):
            dims[0][0] *= stored[d]
        elif stored[d] != 1:
            dims.insert(0, [stored[d], *(strides[d] for strides in every)])
    if dims and dims[-1][0] < SHORT:  # calls for short rows would take longer than numbers that lie apart
        dims.append(dims.pop(max(range(len(dims)), key=lambda d: dims[d][0])))
    back = [order.index(d) for d in range(len(order))]
    return stored, None if back == sorted(back) else tuple(back), np.array(dims or [[1] + [0] * len(every)])


def run(loop: int, dtype: np.dtype, arrays: tuple[np.ndarray, ...], out: np.ndarray | None = None) -> np.ndarray:
    """What the ufunc of the loop at this address gives, of this dtype, for arrays of its dtypes that broadcast; `out` is C-contiguous."""
    stored, back, plan = _plan(tuple([(x.shape, x.strides) for x in arrays]), dtype.itemsize)
    if out is None:
        out = np.empty(stored, dtype)
    begins = [address(x) for x in (out, *arrays)]
    _ROWS_PARALLEL[plan.dtype](plan, loop, *begins, *[0] * (MOST - len(begins)), get_num_threads())
    return out if back is None else out.transpose(back)
