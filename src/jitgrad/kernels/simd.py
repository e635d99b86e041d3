"""Vector micro-kernels: what LLVM does not find by itself in a loop. Each has a plain-loop twin, for NUMBA_DISABLE_JIT=1 and for
x86 without FMA instructions.

A tile is ROWS x COLUMNS numbers of a product, held in vector registers while the sum over k runs: two loads and ROWS
multiply-adds of two vectors for each k. The sizes follow the registers of the CPU that compiles: 32 of 16 floats with
AVX-512, 16 of 8 floats before it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitgrad.kernels.jit import DISABLED, njit

WIDE = not DISABLED and llvm.get_host_cpu_features().get("avx512f", False)
ROWS = 12 if WIDE else 4
VECTOR_BYTES = 64 if WIDE else 32
VECTORS = 2  # side by side in a tile
DOT_ROWS, DOT_COLUMNS = 4 if WIDE else 2, 4  # of a tile of dot products
TAP_ROWS, TAP_VECTORS = 8 if WIDE else 4, 3  # of the tiles of convolutions
TAP_DOT_ROWS, TAP_DOT_COLUMNS = 8 if WIDE else 4, 3


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
    c = _Emitter(context, builder, sig.args[0].dtype)
    there = builder.icmp_signed("!=", c.array(sig.args[5], first).nitems, c.i64(0))
    begin = _Begin(c.array(sig.args[5], first).data, first_at, first_pitch, there)
    places = (c.array(sig.args[0], out).data, to, pitch, rows, width), (c.array(sig.args[8], a).data, at, a_row, a_step)
    b_data = c.array(sig.args[12], b).data
    _multiply(c, (ROWS, VECTORS), *places, b_data, lambda k: builder.add(start, builder.mul(k, b_pitch)), K, begin)
    return context.get_dummy_value()


class _Begin(NamedTuple):
    """What a tile adds its sums to."""

    data: Any
    at: Any
    pitch: Any
    there: Any  # i1, whether there is anything


def _multiply(
    c: _Emitter, size: tuple[int, int], target: Any, factors: Any, b_data: Any, row_of_b: Callable[[Any], Any], K: Any, begin: _Begin
) -> None:  # fmt: skip
    """The code of a tile of so many rows and vectors.

    target is data, place, pitch, rows, width; factors are data, place, row and step of a; row_of_b(k) is the place of b's row k.
    """
    builder = c.builder
    most, vectors = size
    out_data, to, pitch, rows, width = target
    a_data, at, a_row, a_step = factors  # rows of a packed one beside the other where a_row is None
    masks = [c.lane_mask(width, v * c.lanes) for v in range(vectors)]
    row = c.clamped(rows, most)
    totals = [c.alloca(c.zero) for _ in range(most * vectors)]
    if a_row is None:
        from_row = [builder.add(at, c.i64(r)) for r in range(most)]
    else:
        from_row = [builder.add(at, builder.mul(i, a_row)) for i in row]
    with cgutils.for_range(builder, K) as loop:
        place = row_of_b(loop.index)
        bs = [c.load(b_data, builder.add(place, c.i64(v * c.lanes)), masks[v]) for v in range(vectors)]
        step = builder.mul(loop.index, a_step)
        for r in range(most):
            factor = c.broadcast(builder.load(builder.gep(a_data, [builder.add(from_row[r], step)])), c.vector)
            for v in range(vectors):
                c.multiply_add(factor, bs[v], totals[r * vectors + v])
    with builder.if_then(begin.there):  # added last: sums of stretches of k err less than one sum
        for r in range(most):
            for v in range(vectors):
                index = builder.add(begin.at, builder.add(builder.mul(row[r], begin.pitch), c.i64(v * c.lanes)))
                total = totals[r * vectors + v]
                builder.store(builder.fadd(c.load(begin.data, index, masks[v]), builder.load(total)), total)
    for r in range(most):
        real = c.broadcast(builder.icmp_signed("<", c.i64(r), rows), c.mask)
        for v in range(vectors):
            index = builder.add(to, builder.add(builder.mul(row[r], pitch), c.i64(v * c.lanes)))
            c.store(builder.load(totals[r * vectors + v]), out_data, index, builder.and_(masks[v], real))


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
    c = _Emitter(context, builder, sig.args[0].dtype)
    out_data, table_data = c.array(sig.args[0], out).data, c.array(sig.args[10], table).data

    def row_of_b(t: Any) -> Any:
        return builder.add(start, builder.load(builder.gep(table_data, [builder.add(k, t)])))

    places = (out_data, to, pitch, rows, width), (c.array(sig.args[6], a).data, at, None, c.i64(TAP_ROWS))
    begin = _Begin(out_data, to, pitch, more)
    _multiply(c, (TAP_ROWS, TAP_VECTORS), *places, c.array(sig.args[8], b).data, row_of_b, K, begin)
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
    c = _Emitter(context, builder, sig.args[0].dtype)
    out_data, a_data, b_data = (c.array(sig.args[i], args[i]).data for i in (0, 7, 10))
    column = c.clamped(columns, DOT_COLUMNS)
    from_column = [builder.add(start, builder.mul(j, b_row)) for j in column]
    there = builder.icmp_signed("!=", c.array(sig.args[5], first).nitems, c.i64(0))
    sums = c.horizontal_sums(_multiply_dots(c, (DOT_ROWS, DOT_COLUMNS), rows, (a_data, at, a_row), (b_data, from_column), K))
    row = c.clamped(rows, DOT_ROWS)
    few = c.of_lanes(DOT_COLUMNS)
    inside = few.lane_mask(columns, 0)
    before = few.load(c.array(sig.args[5], first).data, first_at, builder.and_(inside, few.broadcast(there, few.mask)))
    for r in range(DOT_ROWS):
        vector, place = divmod(r * DOT_COLUMNS, c.lanes)
        places = ir.Constant(ir.VectorType(ir.IntType(32), DOT_COLUMNS), list(range(place, place + DOT_COLUMNS)))
        part = builder.shuffle_vector(sums[vector], sums[vector], places)
        few.store(builder.fadd(before, part), out_data, builder.add(to, builder.mul(row[r], pitch)), inside)
    return context.get_dummy_value()


def _multiply_dots(c: _Emitter, size: tuple[int, int], rows: Any, left: Any, right: Any, K: Any) -> list[Any]:
    """The sums over k of a tile of so many rows and columns, as vectors; left is data, place, row of a; right data, places of b's rows."""
    builder = c.builder
    (a_data, at, a_row), (b_data, from_column) = left, right
    totals = [c.alloca(c.zero) for _ in range(size[0] * size[1])]
    from_row = [builder.add(at, builder.mul(i, a_row)) for i in c.clamped(rows, size[0])]

    def step(k: Any, mask: Any) -> None:
        ys = [c.load(b_data, builder.add(j, k), mask) for j in from_column]
        for r, i in enumerate(from_row):
            x = c.load(a_data, builder.add(i, k), mask)
            for v, y in enumerate(ys):
                c.multiply_add(x, y, totals[r * size[1] + v])

    whole = builder.sdiv(K, c.i64(c.lanes))
    everything = ir.Constant(c.mask, [1] * c.lanes)
    with cgutils.for_range(builder, whole) as loop:
        step(builder.mul(loop.index, c.i64(c.lanes)), everything)
    done = builder.mul(whole, c.i64(c.lanes))
    with builder.if_then(builder.icmp_signed("<", done, K)):
        step(done, c.lane_mask(builder.sub(K, done), 0))
    return [builder.load(total) for total in totals]


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
    c = _Emitter(context, builder, sig.args[0].dtype)
    out_data, a_data, b_data, table = (c.array(sig.args[i], args[i]).data for i in (0, 2, 5, 7))
    size = TAP_DOT_ROWS, TAP_DOT_COLUMNS
    from_column = [builder.add(start, builder.load(builder.gep(table, [builder.add(k, j)]))) for j in c.clamped(columns, size[1])]
    totals = _multiply_dots(c, size, rows, (a_data, at, a_row), (b_data, from_column), K)
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
    c = _Emitter(context, builder, sig.args[0].dtype)
    out_data = c.array(sig.args[0], out).data
    places = (out_data, to, pitch, rows, width), (c.array(sig.args[6], a).data, at, a_row, c.i64(1))
    b_data = c.array(sig.args[9], b).data
    begin = _Begin(out_data, to, pitch, more)
    _multiply(c, (TAP_ROWS, TAP_VECTORS), *places, b_data, lambda k: builder.add(start, builder.mul(k, b_pitch)), K, begin)
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
    c = _Emitter(context, builder, sig.args[0].dtype)
    out_data, x_data = c.array(sig.args[0], out).data, c.array(sig.args[2], x).data
    more = c.broadcast(value, c.vector)
    steps = builder.sdiv(builder.add(n, c.i64(c.lanes - 1)), c.i64(c.lanes))
    with cgutils.for_range(builder, steps) as loop:
        j = builder.mul(loop.index, c.i64(c.lanes))
        mask = c.lane_mask(builder.sub(n, j), 0)
        c.store(builder.fadd(c.load(x_data, builder.add(at, j), mask), more), out_data, builder.add(to, j), mask)
    return context.get_dummy_value()


class _Emitter:
    """Writes vector instructions for one float dtype."""

    def __init__(self, context: Any, builder: ir.IRBuilder, dtype: Any, lanes: int | None = None) -> None:
        self.context, self.builder = context, builder
        self.dtype = dtype
        self.number = context.get_value_type(dtype)
        size = dtype.bitwidth // 8
        self.lanes = lanes or VECTOR_BYTES // size
        self.suffix = f"v{self.lanes}f{dtype.bitwidth}"
        self.itemsize = size
        self.align = ir.Constant(ir.IntType(32), size)
        self.vector = ir.VectorType(self.number, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def of_lanes(self, lanes: int) -> _Emitter:
        """The same with other vectors."""
        return _Emitter(self.context, self.builder, self.dtype, lanes)

    def i64(self, value: int) -> Any:
        return ir.Constant(ir.IntType(64), value)

    def array(self, kind: Any, value: Any) -> Any:
        return self.context.make_array(kind)(self.context, self.builder, value)

    def alloca(self, value: Any) -> Any:
        """A place on the stack, which LLVM makes a register."""
        place = cgutils.alloca_once(self.builder, value.type)
        self.builder.store(value, place)
        return place

    def clamped(self, count: Any, most: int) -> list[Any]:
        """0 to most - 1, and count - 1 for what lies beyond: a tile has one size, and its last row may be worked out twice."""
        last = self.builder.sub(count, self.i64(1))
        places = [self.i64(i) for i in range(most)]
        return [self.builder.select(self.builder.icmp_signed("<", i, last), i, last) for i in places]

    def broadcast(self, value: Any, kind: Any) -> Any:
        """A vector with value in every lane."""
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, one, zeros)

    def lane_mask(self, count: Any, start: int) -> Any:
        """The mask of the lanes start, start + 1, ... that are below count."""
        words = ir.VectorType(ir.IntType(32), self.lanes)  # one comparison for all lanes; counts are far below 2**31
        places = ir.Constant(words, [start + i for i in range(self.lanes)])
        return self.builder.icmp_signed("<", places, self.broadcast(self.builder.trunc(count, ir.IntType(32)), words))

    def _call(self, name: str, returns: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(returns, [x.type for x in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def vector_at(self, data: Any, index: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [index]), self.vector.as_pointer())

    def load(self, data: Any, index: Any, mask: Any) -> Any:
        """Vector data[index:], zero where the mask is off, where memory is not touched."""
        return self._call(f"llvm.masked.load.{self.suffix}.p0", self.vector, self.vector_at(data, index), self.align, mask, self.zero)

    def store(self, value: Any, data: Any, index: Any, mask: Any) -> None:
        self._call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), value, self.vector_at(data, index), self.align, mask)

    def multiply_add(self, x: Any, y: Any, total: Any) -> None:
        """total += x y, rounded once."""
        self.builder.store(self._call(f"llvm.fma.{self.suffix}", self.vector, x, y, self.builder.load(total)), total)

    def horizontal_sums(self, values: list[Any]) -> list[Any]:
        """The sums over the lanes of each vector, in the lanes of new ones; as many vectors as lanes, or a multiple."""
        even, odd = (ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), list(range(start, 2 * self.lanes, 2))) for start in (0, 1))
        result = []
        for at in range(0, len(values), self.lanes):
            some = values[at : at + self.lanes]
            while len(some) > 1:  # two vectors become one, with the sums of neighbours
                pairs = zip(some[::2], some[1::2], strict=True)
                some = [
                    self.builder.fadd(self.builder.shuffle_vector(x, y, even), self.builder.shuffle_vector(x, y, odd)) for x, y in pairs
                ]
            result += some
        return result


_X86 = platform.machine().lower() in ("x86_64", "amd64")
_PLAIN = DISABLED or (_X86 and not llvm.get_host_cpu_features().get("fma", False))
tile, dots, taps, tap_dots, low_tile, add_row = (
    tuple(map(njit, (_plain_tile, _plain_dots, _plain_taps, _plain_tap_dots, _plain_low_tile, _plain_add_row)))
    if _PLAIN
    else (_tile, _dots, _taps, _tap_dots, _low_tile, _add_row)
)
