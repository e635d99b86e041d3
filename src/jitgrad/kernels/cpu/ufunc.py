"""Loops over strided memory as NumPy ufuncs: the fastest way to call a compiled pointwise kernel on small arrays.

A ufunc takes any strides and broadcasting and allocates its result in C, in less time than one dispatcher call. Both
interfaces used here, Numba's `fromfunc` and the intrinsics' code generation, are private to Numba; where they or the
CPU do not fit, `make_ufunc` is None and the callers use their njit form.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitgrad.kernels.jit import DISABLED, c_loop


@intrinsic
def at(typingctx, pointer, i):  # type: ignore[no-untyped-def]
    """pointer[i]"""
    signature = pointer.dtype(pointer, types.intp)

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return context.unpack_value(builder, sig.return_type, builder.gep(args[0], [args[1]]))

    return signature, codegen


@intrinsic
def put(typingctx, pointer, i, value):  # type: ignore[no-untyped-def]
    """pointer[i] = value, converted to the pointer's type"""
    signature = types.void(pointer, types.intp, pointer.dtype)

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        context.pack_value(builder, sig.args[2], args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def moved(typingctx, pointer, n):  # type: ignore[no-untyped-def]
    """The pointer n bytes further on"""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return cgutils.pointer_add(builder, args[0], args[1])

    return pointer(pointer, types.intp), codegen


@intrinsic
def size(typingctx, pointer):  # type: ignore[no-untyped-def]
    """Bytes of what the pointer points to"""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(sig.args[0].dtype)))

    return types.intp(pointer), codegen


@intrinsic
def bools(typingctx, pointer):  # type: ignore[no-untyped-def]
    """The same address, as a pointer to bool"""
    result = types.CPointer(types.boolean)

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], context.get_value_type(result))

    return result(pointer), codegen


@intrinsic
def clear_flags(typingctx):  # type: ignore[no-untyped-def]
    """Clears the floating-point exception flags, which NumPy turns into RuntimeWarnings after each ufunc call"""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        word = cgutils.alloca_once(builder, ir.IntType(32))
        address = builder.bitcast(word, ir.IntType(8).as_pointer())
        plain = ir.FunctionType(ir.VoidType(), [address.type])
        store = cgutils.get_or_insert_function(builder.module, plain, "llvm.x86.sse.stmxcsr")
        load = cgutils.get_or_insert_function(builder.module, plain, "llvm.x86.sse.ldmxcsr")
        builder.call(store, [address])
        flags = builder.load(word)
        seen = builder.and_(flags, ir.Constant(flags.type, 0x1D))  # invalid, zero divide, overflow, underflow; all others stay unread
        with builder.if_then(builder.icmp_unsigned("!=", seen, ir.Constant(flags.type, 0)), likely=False):  # the write is slow
            builder.store(builder.and_(flags, ir.Constant(flags.type, ~0x3F & 0xFFFFFFFF)), word)
            builder.call(load, [address])
        return context.get_dummy_value()

    return types.void(), codegen


addresses: dict[np.ufunc, tuple[int, tuple[np.dtype, ...], np.dtype]] = {}  # of the loops; dtypes of their inputs and of the result


def _make(function: Callable[..., None], name: str, dtype: np.dtype, inputs: list[np.dtype], output: np.dtype) -> np.ufunc:
    """A ufunc of `function(args, dims, steps, data)`, compiled with args as pointers to `dtype`.

    A ufunc has loops for one dtype only: with several, or with another dtype than asked, it would convert without a
    word.
    """
    pointer = types.CPointer
    element = numba.from_dtype(dtype)
    loop = c_loop(function, (pointer(pointer(element)), pointer(types.intp), pointer(types.intp), types.voidptr))
    numbers = [d.num for d in (*inputs, output)]
    made = _internal.fromfunc(name, "", [loop.address], [numbers], len(inputs), 1, [None], loop, _internal.PyUFunc_None)
    addresses[made] = loop.address, tuple(inputs), output
    return made


make_ufunc: Callable[..., np.ufunc] | None = None
if not DISABLED and platform.machine().lower() in ("x86_64", "amd64"):
    try:
        from numba.np.ufunc import _internal

        make_ufunc = _make if hasattr(_internal, "fromfunc") else None
    except ImportError:
        pass
