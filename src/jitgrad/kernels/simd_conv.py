"""Vector micro-kernels of the convolutions, as those of simd.py."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd_code import PLAIN, WIDE, Begin, Emitter, multiply, multiply_dots

TAP_ROWS, TAP_VECTORS = 8 if WIDE else 4, 3  # of the tiles of convolutions
TAP_DOT_ROWS, TAP_DOT_COLUMNS = 8 if WIDE else 4, 3


def _plain_taps(out, to, pitch, rows, width, more, a, at, b, start, table, k, K):  # type: ignore[no-untyped-def]
    for i in range(rows):
        for j in range(width):
            total = out.dtype.type(0)
            for t in range(K):
                total += a[at + t * TAP_ROWS + i] * b[start + table[k + t] + j]
            out[to + i * pitch + j] = total + out[to + i * pitch + j] if more else total


@intrinsic
def _taps(typingctx, out, to, pitch, rows, width, more, a, at, b, start, table, k, K):  # type: ignore[no-untyped-def]
    """out[to + i pitch + j] = (more and itself) + sum_t a[at + t TAP_ROWS + i] b[start + table[k + t] + j]

    for i < rows <= TAP_ROWS and j < width <= TAP_VECTORS vectors; all arrays flat.
    """
    arrays = {0: out, 5: types.boolean, 6: a, 8: b, 10: table}
    return types.void(*(arrays.get(i, types.intp) for i in range(13))), _taps_code


def _taps_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    out, to, pitch, rows, width, more, a, at, b, start, table, k, K = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out_data, table_data = c.array(sig.args[0], out).data, c.array(sig.args[10], table).data

    def row_of_b(t: Any) -> Any:
        return builder.add(start, builder.load(builder.gep(table_data, [builder.add(k, t)])))

    places = (out_data, to, pitch, rows, width), (c.array(sig.args[6], a).data, at, None, c.i64(TAP_ROWS))
    begin = Begin(out_data, to, pitch, more)
    multiply(c, (TAP_ROWS, TAP_VECTORS), *places, c.array(sig.args[8], b).data, row_of_b, K, begin)
    return context.get_dummy_value()


def _plain_tap_dots(out, rows, a, at, a_row, b, start, table, k, columns, K):  # type: ignore[no-untyped-def]
    for i in range(rows):
        for j in range(columns):
            total = out.dtype.type(0)
            for t in range(K):
                total += a[at + i * a_row + t] * b[start + table[k + j] + t]
            out[i * TAP_DOT_COLUMNS + j] = total


@intrinsic
def _tap_dots(typingctx, out, rows, a, at, a_row, b, start, table, k, columns, K):  # type: ignore[no-untyped-def]
    """out[i TAP_DOT_COLUMNS + j] = sum_t a[at + i a_row + t] b[start + table[k + j] + t], the lanes of a vector along t

    for i < rows <= TAP_DOT_ROWS and j < columns <= TAP_DOT_COLUMNS; what out holds for others means nothing; all arrays flat.
    """
    arrays = {0: out, 2: a, 5: b, 7: table}
    return types.void(*(arrays.get(i, types.intp) for i in range(11))), _tap_dots_code


def _tap_dots_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, rows, _, at, a_row, _, start, _, k, columns, K = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out_data, a_data, b_data, table = (c.array(sig.args[i], args[i]).data for i in (0, 2, 5, 7))
    size = TAP_DOT_ROWS, TAP_DOT_COLUMNS
    from_column = [builder.add(start, builder.load(builder.gep(table, [builder.add(k, j)]))) for j in c.clamped(columns, size[1])]
    totals = multiply_dots(c, size, rows, (a_data, at, a_row), (b_data, from_column), K)
    totals += [c.zero] * (-len(totals) % c.lanes)
    for i, total in enumerate(c.horizontal_sums(totals)):
        builder.store(total, c.vector_at(out_data, c.i64(i * c.lanes)), align=c.itemsize)
    return context.get_dummy_value()


def _plain_low_tile(out, to, pitch, rows, width, more, a, at, a_row, b, start, b_pitch, K):  # type: ignore[no-untyped-def]
    for i in range(rows):
        for j in range(width):
            total = out.dtype.type(0)
            for k in range(K):
                total += a[at + i * a_row + k] * b[start + k * b_pitch + j]
            out[to + i * pitch + j] = total + out[to + i * pitch + j] if more else total


@intrinsic
def _low_tile(typingctx, out, to, pitch, rows, width, more, a, at, a_row, b, start, b_pitch, K):  # type: ignore[no-untyped-def]
    """out[to + i pitch + j] = (more and itself) + sum_k a[at + i a_row + k] b[start + k b_pitch + j]

    for i < rows <= TAP_ROWS and j < width <= TAP_VECTORS vectors; all arrays flat.
    """
    arrays = {0: out, 5: types.boolean, 6: a, 9: b}
    return types.void(*(arrays.get(i, types.intp) for i in range(13))), _low_tile_code


def _low_tile_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    out, to, pitch, rows, width, more, a, at, a_row, b, start, b_pitch, K = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out_data = c.array(sig.args[0], out).data
    places = (out_data, to, pitch, rows, width), (c.array(sig.args[6], a).data, at, a_row, c.i64(1))
    b_data = c.array(sig.args[9], b).data
    begin = Begin(out_data, to, pitch, more)
    multiply(c, (TAP_ROWS, TAP_VECTORS), *places, b_data, lambda k: builder.add(start, builder.mul(k, b_pitch)), K, begin)
    return context.get_dummy_value()


def _plain_add_row(out, to, x, at, n, value):  # type: ignore[no-untyped-def]
    for j in range(n):
        out[to + j] = x[at + j] + value


@intrinsic
def _add_row(typingctx, out, to, x, at, n, value):  # type: ignore[no-untyped-def]
    """out[to + j] = x[at + j] + value for j < n, all arrays flat: without the checks that make a loop over a short row slow."""
    return types.void(out, types.intp, x, types.intp, types.intp, out.dtype), _add_row_code


def _add_row_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    out, to, x, at, n, value = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out_data, x_data = c.array(sig.args[0], out).data, c.array(sig.args[2], x).data
    more = c.broadcast(value, c.vector)
    steps = builder.sdiv(builder.add(n, c.i64(c.lanes - 1)), c.i64(c.lanes))
    with cgutils.for_range(builder, steps) as loop:
        j = builder.mul(loop.index, c.i64(c.lanes))
        mask = c.lane_mask(builder.sub(n, j), 0)
        c.store(builder.fadd(c.load(x_data, builder.add(at, j), mask), more), out_data, builder.add(to, j), mask)
    return context.get_dummy_value()


taps, tap_dots, low_tile, add_row = (
    (njit(_plain_taps), njit(_plain_tap_dots), njit(_plain_low_tile), njit(_plain_add_row))
    if PLAIN
    else (_taps, _tap_dots, _low_tile, _add_row)
)
