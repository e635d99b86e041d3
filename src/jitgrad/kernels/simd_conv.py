"""Vector micro-kernels of the convolutions, as those of simd.py.

A vector of pixels is three numbers in an array `spots`: where it is read, where it is written, and how many of its lanes are
pixels. A tile takes the vectors one behind the other, wherever they lie, so that rows of images need be no multiple of its width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd_code import PLAIN, WIDE, Emitter, places

TAP_ROWS, TAP_VECTORS = 8 if WIDE else 4, 3  # filters and vectors of a tile
ROW_VECTORS = 8  # of a tile of one filter
ROW_DOTS = 9  # taps of one filter whose gradients are summed at a time
SPOT = 3  # numbers that tell of a vector


def _plain_tile(out, base, pitch, rows, more, bias, row, a, at, a_step, b, start, spots, s, vectors, table, k, K):  # type: ignore[no-untyped-def]
    for v in range(s, s + SPOT * vectors, SPOT):
        source, to, width = spots[v : v + SPOT]
        for i in range(rows):
            for j in range(width):
                total = out.dtype.type(0)
                for t in range(K):
                    total += a[at + t * a_step + i] * b[start + table[k + t] + source + j]
                place = base + i * pitch + to + j
                out[place] = total + (out[place] if more else bias[row + i])


def _plain_taps(out, base, pitch, rows, more, bias, row, a, at, b, start, loose, spots, s, table, k, K):  # type: ignore[no-untyped-def]
    _tile_of(out, base, pitch, rows, more, bias, row, a, at, TAP_ROWS, b, start, spots, s, TAP_VECTORS, table, k, K)


def _plain_row_taps(out, base, pitch, rows, more, bias, row, a, at, b, start, loose, spots, s, table, k, K):  # type: ignore[no-untyped-def]
    _tile_of(out, base, pitch, 1, more, bias, row, a, at, TAP_ROWS, b, start, spots, s, ROW_VECTORS, table, k, K)


_tile_of = njit(_plain_tile)
_TAP_ARRAYS = (0, 5, 7, 9, 12, 14)


def _tap_types(*given: Any) -> Any:
    return types.void(*(types.boolean if i in (4, 11) else x if i in _TAP_ARRAYS else types.intp for i, x in enumerate(given)))


@intrinsic
def _taps(typingctx, out, base, pitch, rows, more, bias, row, a, at, b, start, loose, spots, s, table, k, K):  # type: ignore[no-untyped-def]
    """out[base + i pitch + to + j] = (more ? itself : bias[row + i]) + sum_t a[at + t TAP_ROWS + i] b[start + table[k + t] + from + j]

    for i < rows <= TAP_ROWS, and j < width of the TAP_VECTORS vectors (from, to, width) in spots[s:]; all arrays flat.
    `loose`: whole vectors may be read where fewer numbers are wanted; a load that leaves lanes out takes a place among the multiply-adds.
    """
    return _tap_types(out, base, pitch, rows, more, bias, row, a, at, b, start, loose, spots, s, table, k, K), _taps_code


@intrinsic
def _row_taps(typingctx, out, base, pitch, rows, more, bias, row, a, at, b, start, loose, spots, s, table, k, K):  # type: ignore[no-untyped-def]
    """taps for one filter: i = 0 alone, and ROW_VECTORS vectors."""
    return _tap_types(out, base, pitch, rows, more, bias, row, a, at, b, start, loose, spots, s, table, k, K), _row_taps_code


def _taps_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    return _tile_code(context, builder, sig, args, TAP_ROWS, TAP_VECTORS)


def _row_taps_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    return _tile_code(context, builder, sig, args, 1, ROW_VECTORS)


def _vectors(c: Emitter, data: Any, at: Any, count: int) -> list[tuple[Any, Any, Any]]:
    """The (from, to, mask of the lanes) of vectors."""
    numbers = [c.builder.load(c.builder.gep(data, [c.builder.add(at, c.i64(i))])) for i in range(SPOT * count)]
    return [(numbers[i], numbers[i + 1], c.lane_mask(numbers[i + 2], 0)) for i in range(0, SPOT * count, SPOT)]


def _tile_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any, most: int, count: int) -> Any:
    _, base, pitch, rows, more, _, row, _, at, _, start, loose, _, s, _, k, K = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out, bias, a, b, spots, table = (c.array(sig.args[i], args[i]).data for i in _TAP_ARRAYS)
    vectors = _vectors(c, spots, s, count)
    begins = [builder.gep(b, [builder.add(start, source)]) for source, _, _ in vectors]
    weights, offsets = builder.gep(a, [at]), builder.gep(table, [k])
    totals = [[c.alloca(c.zero) for _ in vectors] for _ in range(most)]

    def sums(load: Callable[[Any, Any, Any], Any]) -> None:
        with cgutils.for_range(builder, K) as loop:
            offset = builder.load(builder.gep(offsets, [loop.index]))
            xs = [load(begin, offset, mask) for begin, (_, _, mask) in zip(begins, vectors, strict=True)]
            step = builder.mul(loop.index, c.i64(TAP_ROWS))
            for r in range(most):
                factor = c.broadcast(builder.load(builder.gep(weights, [builder.add(step, c.i64(r))])), c.vector)
                for x, total in zip(xs, totals[r], strict=True):
                    c.multiply_add(factor, x, total)

    with builder.if_else(loose) as (whole, parts):
        with whole:
            sums(lambda begin, offset, _: builder.load(c.vector_at(begin, offset), align=c.itemsize))
        with parts:
            sums(c.load)
    for r, i in enumerate(c.clamped(rows, most)):
        real = c.broadcast(builder.icmp_signed("<", c.i64(r), rows), c.mask)
        line = builder.add(base, builder.mul(i, pitch))
        with builder.if_else(more) as (others, first):  # added last: sums of stretches of k err less than one sum
            with others:
                for (_, to, mask), total in zip(vectors, totals[r], strict=True):
                    builder.store(builder.fadd(c.load(out, builder.add(line, to), mask), builder.load(total)), total)
            with first:
                begin = c.broadcast(builder.load(builder.gep(bias, [builder.add(row, i)])), c.vector)
                for total in totals[r]:
                    builder.store(builder.fadd(begin, builder.load(total)), total)
        for (_, to, mask), total in zip(vectors, totals[r], strict=True):
            c.store(builder.load(total), out, builder.add(line, to), builder.and_(mask, real))
    return context.get_dummy_value()


def _plain_row_dots(out, a, at, b, start, spots, s, vectors, table, k, columns):  # type: ignore[no-untyped-def]
    for j in range(columns):
        total = out.dtype.type(0)
        for v in range(s, s + SPOT * vectors, SPOT):
            source, to, width = spots[v : v + SPOT]
            for i in range(width):
                total += a[at + to + i] * b[start + table[k + j] + source + i]
        out[j] = total


@intrinsic
def _row_dots(typingctx, out, a, at, b, start, spots, s, vectors, table, k, columns):  # type: ignore[no-untyped-def]
    """out[j] = sum over the vectors (from, to, width) in spots[s:], i < width, of a[at + to + i] b[start + table[k + j] + from + i]

    for j < columns <= ROW_DOTS; out has room for whole vectors; all arrays flat.
    """
    arrays = {0: out, 1: a, 3: b, 5: spots, 8: table}
    return types.void(*(arrays.get(i, types.intp) for i in range(11))), _row_dots_code


def _row_dots_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, _, at, _, start, _, s, vectors, _, k, columns = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out, a, b, spots, table = (c.array(sig.args[i], args[i]).data for i in (0, 1, 3, 5, 8))
    starts = [builder.add(start, builder.load(builder.gep(table, [builder.add(k, j)]))) for j in c.clamped(columns, ROW_DOTS)]
    begins = [builder.gep(b, [i]) for i in starts]
    totals = [c.alloca(c.zero) for _ in starts]
    with cgutils.for_range(builder, vectors) as loop:
        ((source, to, mask),) = _vectors(c, spots, builder.add(s, builder.mul(loop.index, c.i64(SPOT))), 1)
        y = c.load(a, builder.add(at, to), mask)
        for begin, total in zip(begins, totals, strict=True):
            c.multiply_add(y, c.load(begin, source, mask), total)
    sums = [builder.load(total) for total in totals]
    for i, total in enumerate(c.horizontal_sums(sums + [c.zero] * (-len(sums) % c.lanes))):
        builder.store(total, c.vector_at(out, c.i64(i * c.lanes)), align=c.itemsize)
    return context.get_dummy_value()


def _plain_gather(out, to, pitch, x, start, parts, p, count, table, k, K):  # type: ignore[no-untyped-def]
    for t in range(K):
        for v in range(p, p + SPOT * (count or TAP_VECTORS), SPOT):
            source, column, width = parts[v : v + SPOT]
            for j in range(width):
                out[to + t * pitch + column + j] = x[start + table[k + t] + source + j]


@intrinsic
def _gather(typingctx, out, to, pitch, x, start, parts, p, count, table, k, K):  # type: ignore[no-untyped-def]
    """out[to + t pitch + column + j] = x[start + table[k + t] + from + j] for t < K

    and j < width of so many (from, column, width) in parts[p:], each at most a vector. A count of 0 stands for TAP_VECTORS whole
    ones, side by side in out; all arrays flat.
    """
    arrays = {0: out, 3: x, 5: parts, 8: table}
    return types.void(*(arrays.get(i, types.intp) for i in range(11))), _gather_code


def _gather_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, to, pitch, _, start, _, p, count, _, k, K = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out, x, parts, table = (c.array(sig.args[i], args[i]).data for i in (0, 3, 5, 8))
    begin, first, offsets = builder.gep(x, [start]), builder.gep(out, [to]), builder.gep(table, [k])
    with builder.if_else(builder.icmp_signed("==", count, c.i64(0))) as (whole, some):
        with whole:
            begins = [builder.gep(begin, [source]) for source, _, _ in _vectors(c, parts, p, TAP_VECTORS)]
            with cgutils.for_range(builder, K) as tap:
                offset, line = builder.load(builder.gep(offsets, [tap.index])), builder.mul(tap.index, pitch)
                for i, source in enumerate(begins):
                    value = builder.load(c.vector_at(source, offset), align=c.itemsize)
                    builder.store(value, c.vector_at(first, builder.add(line, c.i64(i * c.lanes))), align=c.itemsize)
                    c.prefetch(source, builder.add(offset, c.i64(TAP_VECTORS * c.lanes)), False)  # of the next tile, most likely
        with some, cgutils.for_range(builder, count) as part:
            ((source, column, mask),) = _vectors(c, parts, builder.add(p, builder.mul(part.index, c.i64(SPOT))), 1)
            here, there = builder.gep(begin, [source]), builder.gep(first, [column])
            with cgutils.for_range(builder, K) as tap:
                offset = builder.load(builder.gep(offsets, [tap.index]))
                c.store(c.load(here, offset, mask), there, builder.mul(tap.index, pitch), mask)
    return context.get_dummy_value()


def _plain_transpose(out, to, pitch, x, at, x_pitch, rows, columns):  # type: ignore[no-untyped-def]
    for i in range(rows):
        for j in range(columns):
            out[to + j * pitch + i] = x[at + i * x_pitch + j]


@intrinsic
def _transpose(typingctx, out, to, pitch, x, at, x_pitch, rows, columns):  # type: ignore[no-untyped-def]
    """out[to + j pitch + i] = x[at + i x_pitch + j] for i < rows and j < columns, both at most the lanes of a vector; all arrays flat."""
    return types.void(out, types.intp, types.intp, x, *[types.intp] * 4), _transpose_code


def _transpose_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, to, pitch, _, at, x_pitch, rows, columns = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out, x = c.array(sig.args[0], args[0]).data, c.array(sig.args[3], args[3]).data
    wide = c.lane_mask(columns, 0)
    lines = [c.load(x, builder.add(at, builder.mul(i, x_pitch)), wide) for i in c.clamped(rows, c.lanes)]
    tall = c.lane_mask(rows, 0)
    for j, line in enumerate(c.transposed(lines)):
        with builder.if_then(builder.icmp_signed("<", c.i64(j), columns)):
            c.store(line, out, builder.add(to, builder.mul(c.i64(j), pitch)), tall)
    return context.get_dummy_value()


def _plain_copy_row(out, to, x, at, n, more):  # type: ignore[no-untyped-def]
    for j in range(n):
        out[to + j] = x[at + j] + out[to + j] if more else x[at + j]


@intrinsic
def _copy_row(typingctx, out, to, x, at, n, more):  # type: ignore[no-untyped-def]
    """out[to + j] = x[at + j] + (more and itself) for j < n, all arrays flat: without the checks that make a loop over a short row slow."""
    return types.void(out, types.intp, x, types.intp, types.intp, types.boolean), _copy_row_code


def _copy_row_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, to, _, at, n, more = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out, x = c.array(sig.args[0], args[0]).data, c.array(sig.args[2], args[2]).data
    steps = builder.sdiv(builder.add(n, c.i64(c.lanes - 1)), c.i64(c.lanes))
    itself = c.broadcast(more, c.mask)
    with cgutils.for_range(builder, steps) as loop:
        j = builder.mul(loop.index, c.i64(c.lanes))
        mask = c.lane_mask(builder.sub(n, j), 0)
        before = c.load(out, builder.add(to, j), builder.and_(mask, itself))
        c.store(builder.fadd(c.load(x, builder.add(at, j), mask), before), out, builder.add(to, j), mask)
    return context.get_dummy_value()


def _plain_deal_seconds(out, to, x, at, n, more):  # type: ignore[no-untyped-def]
    for j in range(n):
        out[to + 2 * j] = x[at + j] + out[to + 2 * j] if more else x[at + j]


@intrinsic
def _deal_seconds(typingctx, out, to, x, at, n, more):  # type: ignore[no-untyped-def]
    """out[to + 2 j] = x[at + j] + (more and itself) for j < n, all arrays flat."""
    return types.void(out, types.intp, x, types.intp, types.intp, types.boolean), _deal_seconds_code


def _deal_seconds_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, to, _, at, n, more = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out, x = c.array(sig.args[0], args[0]).data, c.array(sig.args[2], args[2]).data
    steps = builder.sdiv(builder.add(n, c.i64(c.lanes - 1)), c.i64(c.lanes))
    itself = c.broadcast(more, c.mask)
    evens = ir.Constant(c.mask, [1 - i % 2 for i in range(c.lanes)])
    with cgutils.for_range(builder, steps) as loop:
        j = builder.mul(loop.index, c.i64(c.lanes))
        value = c.load(x, builder.add(at, j), c.lane_mask(builder.sub(n, j), 0))
        for i in (0, c.lanes):
            spread = builder.shuffle_vector(value, value, places([(i + lane) // 2 for lane in range(c.lanes)]))
            first = builder.mul(j, c.i64(2))
            mask = builder.and_(c.lane_mask(builder.mul(builder.sub(n, j), c.i64(2)), i), evens)
            place = builder.add(to, builder.add(first, c.i64(i)))
            before = c.load(out, place, builder.and_(mask, itself))
            c.store(builder.fadd(spread, before), out, place, mask)
    return context.get_dummy_value()


def _plain_fill_rows(out, to, pitch, rows, x, at, x_pitch, step, left, W, apart):  # type: ignore[no-untyped-def]
    for r in range(rows):
        for q in range(pitch):
            for b in range(2 if apart else 1):
                column = left + q * step + b
                out[to + b * apart + r * pitch + q] = x[at + r * x_pitch + column] if 0 <= column < W else 0


@intrinsic
def _fill_rows(typingctx, out, to, pitch, rows, x, at, x_pitch, step, left, W, apart):  # type: ignore[no-untyped-def]
    """out[to + r pitch + q] = x[at + r x_pitch + p] where p = left + q step is in a row of W numbers, else 0, for r < rows and q < pitch.

    The step is 1, or 2; then, if `apart` is not 0, also out[to + apart + r pitch + q] is that for p + 1. All arrays flat.
    """
    arrays = {0: out, 4: x}
    return types.void(*(arrays.get(i, types.intp) for i in range(11))), _fill_rows_code


def _fill_rows_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, to, pitch, rows, _, at, x_pitch, step, left, W, apart = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out, x = c.array(sig.args[0], args[0]).data, c.array(sig.args[4], args[4]).data
    steps = builder.sdiv(builder.add(pitch, c.i64(c.lanes - 1)), c.i64(c.lanes))
    halves = [places(list(range(odd, 2 * c.lanes, 2))) for odd in (0, 1)]
    with cgutils.for_range(builder, steps) as piece:
        q = builder.mul(piece.index, c.i64(c.lanes))
        first, wanted = builder.add(to, q), c.lane_mask(builder.sub(pitch, q), 0)
        column = builder.add(left, builder.mul(q, step))

        def lines(wide: int, phases: int) -> None:
            columns = [builder.add(column, c.i64(i * c.lanes)) for i in range(wide)]
            masks = [c.inside(p, W) for p in columns]
            with cgutils.for_range(builder, rows) as loop:
                start = builder.add(at, builder.mul(loop.index, x_pitch))
                values = [c.load(x, builder.add(start, p), mask) for p, mask in zip(columns, masks, strict=True)]
                place = builder.add(first, builder.mul(loop.index, pitch))
                for half in halves[:phases]:
                    value = values[0] if wide == 1 else builder.shuffle_vector(*values, half)
                    c.store(value, out, place, wanted)
                    place = builder.add(place, apart)

        with builder.if_else(builder.icmp_signed("==", step, c.i64(1))) as (ones, twos):
            with ones:
                lines(1, 1)
            with twos, builder.if_else(builder.icmp_signed("==", apart, c.i64(0))) as (one, both):
                with one:
                    lines(2, 1)
                with both:
                    lines(2, 2)
    return context.get_dummy_value()


_PLAIN = (
    _plain_taps, _plain_row_taps, _plain_row_dots, _plain_gather, _plain_transpose, _plain_copy_row, _plain_deal_seconds,
    _plain_fill_rows,
)  # fmt: skip
_VECTORS = _taps, _row_taps, _row_dots, _gather, _transpose, _copy_row, _deal_seconds, _fill_rows
taps, row_taps, row_dots, gather, transpose, copy_row, deal_seconds, fill_rows = tuple(map(njit, _PLAIN)) if PLAIN else _VECTORS
