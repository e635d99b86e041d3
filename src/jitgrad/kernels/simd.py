"""Vector micro-kernels: what LLVM does not find by itself in a loop. Each has a plain-loop twin, for NUMBA_DISABLE_JIT=1 and for
x86 without FMA instructions.

A tile is ROWS rows of up to VECTORS vectors of a product, held in vector registers while the sum over k runs: for each k the
vectors of b are loaded, and every row multiplies them by its one number of a. The sizes follow the registers of the CPU that
compiles: 32 of 16 floats with AVX-512, 16 of 8 floats before it. Three vectors keep 24 (12) sums in flight, for which the loads
and the rest of the loop never are the bottleneck.

A tile is what the literature calls a micro-kernel (Van Zee and van de Geijn, BLIS: a framework for rapidly instantiating BLAS
functionality, 2015), ROWS is its MR and VECTORS, times the lanes of a vector, its NR. `pack` makes its micro-panels.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitgrad.kernels.jit import DISABLED, njit
from jitgrad.kernels.library import FULL_VECTORS
from jitgrad.kernels.simd_code import PLAIN, WIDE, Begin, Emitter, multiply, multiply_dots, places

ROWS = 8 if WIDE else 4
VECTORS = 3  # side by side in a tile, at most
DOT_ROWS, DOT_COLUMNS = 4 if WIDE else 2, 4  # of a tile of dot products


@intrinsic
def _full_vectors(typingctx):  # type: ignore[no-untyped-def]
    """Lets LLVM use the longest vectors of the CPU in the kernel that calls this; by itself it takes half of AVX-512's."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        set.add(builder.function.attributes, FULL_VECTORS)
        return context.get_dummy_value()

    return types.void(), codegen


def _no_vectors():  # type: ignore[no-untyped-def]
    pass


full_vectors = njit(_no_vectors) if DISABLED else _full_vectors


def _plain_tile(out, to, pitch, rows, width, first, first_at, first_pitch, a, at, a_row, a_step, b, start, b_pitch, K):  # type: ignore[no-untyped-def]
    for i in range(rows):
        for j in range(width):
            total = out.dtype.type(0)
            for k in range(K):
                total += a[at + i * a_row + k * a_step] * b[start + k * b_pitch + j]
            out[to + i * pitch + j] = total + first[first_at + i * first_pitch + j] if first.size else total


@intrinsic
def _tile(typingctx, out, to, pitch, rows, width, first, first_at, first_pitch, a, at, a_row, a_step, b, start, b_pitch, K):  # type: ignore[no-untyped-def]
    """out[to + i pitch + j] = first[first_at + i first_pitch + j] (0 if empty) + sum_k a[at + i a_row + k a_step] b[start + k b_pitch + j]

    for i < rows <= ROWS and j < width <= VECTORS vectors; all arrays flat.
    """
    arrays = {0: out, 5: first, 8: a, 12: b}
    return types.void(*(arrays.get(i, types.intp) for i in range(16))), _tile_code


def _tile_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    out, to, pitch, rows, width, first, first_at, first_pitch, a, at, a_row, a_step, b, start, b_pitch, K = args
    c = Emitter(context, builder, sig.args[0].dtype)
    there = builder.icmp_signed("!=", c.array(sig.args[5], first).nitems, c.i64(0))
    begin = Begin(c.array(sig.args[5], first).data, first_at, first_pitch, there)
    out_data, a_data, b_data = c.array(sig.args[0], out).data, c.array(sig.args[8], a).data, c.array(sig.args[12], b).data
    operands = (out_data, to, pitch, rows, width), (a_data, at, a_row, a_step), (b_data, start, b_pitch)

    def of_vectors(count: int) -> None:
        """One loop for each number of vectors: narrow tiles do no work beside their columns."""
        if count > 1:
            with builder.if_else(builder.icmp_signed(">", width, c.i64((count - 1) * c.lanes))) as (enough, fewer):
                with enough:
                    emit(count)
                with fewer:
                    of_vectors(count - 1)
        else:
            emit(count)

    def emit(count: int) -> None:
        full = c.i64(count * c.lanes)  # packed rows are of whole vectors
        whole = builder.or_(builder.icmp_signed("==", width, full), builder.icmp_signed("==", b_pitch, full))
        multiply(c, (ROWS, count), *operands, K, begin, whole)

    of_vectors(VECTORS)
    return context.get_dummy_value()


def _plain_pack(work, to, columns, b, at, b_row, width, K):  # type: ignore[no-untyped-def]
    for k in range(K):
        for j in range(columns):
            work[to + k * columns + j] = b[at + k * b_row + j] if j < width else 0


@intrinsic
def _pack(typingctx, work, to, columns, b, at, b_row, width, K):  # type: ignore[no-untyped-def]
    """work[to + k columns + j] = b[at + k b_row + j], 0 for j >= width

    for k < K and j < columns, a multiple of the lanes of a vector, at most VECTORS vectors; all arrays flat.
    """
    arrays = {0: work, 3: b}
    return types.void(*(arrays.get(i, types.intp) for i in range(8))), _pack_code


def _pack_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    work, to, columns, b, at, b_row, width, K = args
    c = Emitter(context, builder, sig.args[0].dtype)
    work_data, b_data = c.array(sig.args[0], work).data, c.array(sig.args[3], b).data
    masks = [c.lane_mask(width, v * c.lanes) for v in range(VECTORS)]
    with cgutils.for_range(builder, K) as loop:
        row, target = builder.add(at, builder.mul(loop.index, b_row)), builder.add(to, builder.mul(loop.index, columns))
        for v in range(VECTORS):
            left = c.i64(v * c.lanes)
            with builder.if_then(builder.icmp_signed("<", left, columns)):
                vector = c.load(b_data, builder.add(row, left), masks[v])
                builder.store(vector, c.vector_at(work_data, builder.add(target, left)), align=c.itemsize)
    return context.get_dummy_value()


def _plain_pack_transposed(work, to, columns, b, at, b_row, width, K):  # type: ignore[no-untyped-def]
    for k in range(K):
        for j in range(columns):
            work[to + k * columns + j] = b[at + min(j, width - 1) * b_row + k]


@intrinsic
def _pack_transposed(typingctx, work, to, columns, b, at, b_row, width, K):  # type: ignore[no-untyped-def]
    """work[to + k columns + j] = b[at + j b_row + k], of column width - 1 for j >= width; otherwise as pack"""
    arrays = {0: work, 3: b}
    return types.void(*(arrays.get(i, types.intp) for i in range(8))), _pack_transposed_code


def _pack_transposed_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    work, to, columns, b, at, b_row, width, K = args
    c = Emitter(context, builder, sig.args[0].dtype)
    work_data, b_data = c.array(sig.args[0], work).data, c.array(sig.args[3], b).data
    lanes = c.i64(c.lanes)
    squares = builder.sdiv(builder.add(K, c.i64(c.lanes - 1)), lanes)
    with cgutils.for_range(builder, builder.sdiv(columns, lanes)) as vector, cgutils.for_range(builder, squares) as square:
        left, k = builder.mul(vector.index, lanes), builder.mul(square.index, lanes)
        inside = c.lane_mask(builder.sub(K, k), 0)
        corner = builder.add(builder.add(at, k), builder.mul(left, b_row))
        lines = [builder.add(corner, builder.mul(j, b_row)) for j in c.clamped(builder.sub(width, left), c.lanes)]
        rows = [c.load(b_data, line, inside) for line in lines]
        for i, column in enumerate(c.transposed(rows)):
            there = c.broadcast(builder.icmp_signed("<", builder.add(k, c.i64(i)), K), c.mask)
            target = builder.add(to, builder.add(builder.mul(builder.add(k, c.i64(i)), columns), left))
            c.store(column, work_data, target, there)
    return context.get_dummy_value()


def _plain_dots(out, to, pitch, rows, columns, first, first_at, a, at, a_row, b, start, b_row, K):  # type: ignore[no-untyped-def]
    for i in range(rows):
        for j in range(columns):
            total = out.dtype.type(0)
            for k in range(K):
                total += a[at + i * a_row + k] * b[start + j * b_row + k]
            out[to + i * pitch + j] = total + first[first_at + j] if first.size else total


@intrinsic
def _dots(typingctx, out, to, pitch, rows, columns, first, first_at, a, at, a_row, b, start, b_row, K):  # type: ignore[no-untyped-def]
    """out[to + i pitch + j] = first[first_at + j] (0 if empty) + sum_k a[at + i a_row + k] b[start + j b_row + k]

    for i < rows <= DOT_ROWS and j < columns <= DOT_COLUMNS; all arrays flat. The lanes of a vector run along k.
    """
    arrays = {0: out, 5: first, 7: a, 10: b}
    return types.void(*(arrays.get(i, types.intp) for i in range(14))), _dots_code


def _dots_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, to, pitch, rows, columns, first, first_at, _, at, a_row, _, start, b_row, K = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out_data, a_data, b_data = (c.array(sig.args[i], args[i]).data for i in (0, 7, 10))
    column = c.clamped(columns, DOT_COLUMNS)
    from_column = [builder.add(start, builder.mul(j, b_row)) for j in column]
    there = builder.icmp_signed("!=", c.array(sig.args[5], first).nitems, c.i64(0))
    sums = c.horizontal_sums(multiply_dots(c, (DOT_ROWS, DOT_COLUMNS), rows, (a_data, at, a_row), (b_data, from_column), K))
    row = c.clamped(rows, DOT_ROWS)
    few = c.of_lanes(DOT_COLUMNS)
    inside = few.lane_mask(columns, 0)
    before = few.load(c.array(sig.args[5], first).data, first_at, builder.and_(inside, few.broadcast(there, few.mask)))
    for r in range(DOT_ROWS):
        vector, place = divmod(r * DOT_COLUMNS, c.lanes)
        part = builder.shuffle_vector(sums[vector], sums[vector], places(list(range(place, place + DOT_COLUMNS))))
        few.store(builder.fadd(before, part), out_data, builder.add(to, builder.mul(row[r], pitch)), inside)
    return context.get_dummy_value()


tile, pack, pack_transposed, dots = (
    (njit(_plain_tile), njit(_plain_pack), njit(_plain_pack_transposed), njit(_plain_dots))
    if PLAIN
    else (_tile, _pack, _pack_transposed, _dots)
)
