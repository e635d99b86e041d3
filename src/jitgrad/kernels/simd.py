"""Vector micro-kernels: what LLVM does not find by itself in a loop. Each has a plain-loop twin, for NUMBA_DISABLE_JIT=1 and for
x86 without FMA instructions.

A tile is ROWS x COLUMNS numbers of a product, held in vector registers while the sum over k runs: two loads and ROWS
multiply-adds of two vectors for each k. The sizes follow the registers of the CPU that compiles: 32 of 16 floats with
AVX-512, 16 of 8 floats before it.
"""

from __future__ import annotations

import platform
from typing import Any

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
    _, to, pitch, rows, width, first, first_at, first_pitch, _, at, a_row, a_step, _, start, b_pitch, K = args
    c = _Emitter(context, builder, sig.args[0].dtype)
    masks = [c.lane_mask(width, v * c.lanes) for v in range(VECTORS)]
    out_data, first_data, a_data, b_data = (c.array(sig.args[i], args[i]).data for i in (0, 5, 8, 12))
    there = c.broadcast(builder.icmp_signed("!=", c.array(sig.args[5], first).nitems, c.i64(0)), c.mask)
    row = c.clamped(rows, ROWS)
    totals = [c.alloca(c.zero) for _ in range(ROWS * VECTORS)]
    from_row = [builder.add(at, builder.mul(i, a_row)) for i in row]
    with cgutils.for_range(builder, K) as loop:
        place = builder.add(start, builder.mul(loop.index, b_pitch))
        bs = [c.load(b_data, builder.add(place, c.i64(v * c.lanes)), masks[v]) for v in range(VECTORS)]
        step = builder.mul(loop.index, a_step)
        for r in range(ROWS):
            factor = c.broadcast(builder.load(builder.gep(a_data, [builder.add(from_row[r], step)])), c.vector)
            for v in range(VECTORS):
                c.multiply_add(factor, bs[v], totals[r * VECTORS + v])
    for r in range(ROWS):
        real = c.broadcast(builder.icmp_signed("<", c.i64(r), rows), c.mask)
        for v in range(VECTORS):
            index = builder.add(first_at, builder.add(builder.mul(row[r], first_pitch), c.i64(v * c.lanes)))
            begin = c.load(first_data, index, builder.and_(masks[v], there))  # added last: sums of stretches of k err less than one sum
            index = builder.add(to, builder.add(builder.mul(row[r], pitch), c.i64(v * c.lanes)))
            c.store(builder.fadd(begin, builder.load(totals[r * VECTORS + v])), out_data, index, builder.and_(masks[v], real))
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
    row, column = c.clamped(rows, DOT_ROWS), c.clamped(columns, DOT_COLUMNS)
    totals = [c.alloca(c.zero) for _ in range(DOT_ROWS * DOT_COLUMNS)]
    from_row = [builder.add(at, builder.mul(i, a_row)) for i in row]
    from_column = [builder.add(start, builder.mul(j, b_row)) for j in column]
    steps = builder.sdiv(builder.add(K, c.i64(c.lanes - 1)), c.i64(c.lanes))
    with cgutils.for_range(builder, steps) as loop:
        k = builder.mul(loop.index, c.i64(c.lanes))
        mask = c.lane_mask(builder.sub(K, k), 0)
        xs = [c.load(a_data, builder.add(i, k), mask) for i in from_row]
        ys = [c.load(b_data, builder.add(j, k), mask) for j in from_column]
        for r in range(DOT_ROWS):
            for v in range(DOT_COLUMNS):
                c.multiply_add(xs[r], ys[v], totals[r * DOT_COLUMNS + v])
    few = _Emitter(context, builder, sig.args[0].dtype, DOT_COLUMNS)
    inside = few.lane_mask(columns, 0)
    there = few.broadcast(builder.icmp_signed("!=", c.array(sig.args[5], first).nitems, c.i64(0)), few.mask)
    begin = few.load(c.array(sig.args[5], first).data, first_at, builder.and_(inside, there))
    sums = c.horizontal_sums([builder.load(total) for total in totals])
    for r in range(DOT_ROWS):
        vector, place = divmod(r * DOT_COLUMNS, c.lanes)
        places = ir.Constant(ir.VectorType(ir.IntType(32), DOT_COLUMNS), list(range(place, place + DOT_COLUMNS)))
        part = builder.shuffle_vector(sums[vector], sums[vector], places)
        few.store(builder.fadd(begin, part), out_data, builder.add(to, builder.mul(row[r], pitch)), inside)
    return context.get_dummy_value()


class _Emitter:
    """Writes vector instructions for one float dtype."""

    def __init__(self, context: Any, builder: ir.IRBuilder, dtype: Any, lanes: int | None = None) -> None:
        self.context, self.builder = context, builder
        self.number = context.get_value_type(dtype)
        size = dtype.bitwidth // 8
        self.lanes = lanes or VECTOR_BYTES // size
        self.suffix = f"v{self.lanes}f{dtype.bitwidth}"
        self.align = ir.Constant(ir.IntType(32), size)
        self.vector = ir.VectorType(self.number, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

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
        words = ir.VectorType(ir.IntType(64), self.lanes)
        places = ir.Constant(words, [start + i for i in range(self.lanes)])
        return self.builder.icmp_signed("<", places, self.broadcast(count, words))

    def _call(self, name: str, returns: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(returns, [x.type for x in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def _vector_at(self, data: Any, index: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [index]), self.vector.as_pointer())

    def load(self, data: Any, index: Any, mask: Any) -> Any:
        """Vector data[index:], zero where the mask is off, where memory is not touched."""
        return self._call(f"llvm.masked.load.{self.suffix}.p0", self.vector, self._vector_at(data, index), self.align, mask, self.zero)

    def store(self, value: Any, data: Any, index: Any, mask: Any) -> None:
        self._call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), value, self._vector_at(data, index), self.align, mask)

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
tile, dots = (njit(_plain_tile), njit(_plain_dots)) if _PLAIN else (_tile, _dots)
