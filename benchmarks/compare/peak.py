"""The most multiply-adds a core can do: independent ones, on nothing but registers."""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from jitgrad.kernels.simd_code import VECTOR_BYTES

LANES = VECTOR_BYTES // 4
CHAINS = 12  # enough to hide the latency, few enough for the registers of AVX2


@intrinsic
def _chains(typingctx, n):  # type: ignore[no-untyped-def]
    """Sum of the results of CHAINS chains of n multiply-adds of LANES float32"""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(ir.FloatType(), LANES)
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32")
        factor = ir.Constant(vector, [1.0000001] * LANES)
        totals = [cgutils.alloca_once_value(builder, ir.Constant(vector, [float(k)] * LANES)) for k in range(CHAINS)]
        with cgutils.for_range(builder, args[0]):
            for total in totals:
                builder.store(builder.call(fma, [builder.load(total), factor, factor]), total)
        result = ir.Constant(ir.FloatType(), 0.0)
        for total in totals:
            result = builder.fadd(result, builder.extract_element(builder.load(total), ir.Constant(ir.IntType(32), 0)))
        return result

    return types.float32(types.intp), codegen


@njit(nogil=True)
def _run(n):  # type: ignore[no-untyped-def]
    return _chains(n)


def multiply_adds(n: int) -> int:
    """Do n in each chain; the floating-point operations that were done."""
    _run(n)
    return 2 * CHAINS * LANES * n
