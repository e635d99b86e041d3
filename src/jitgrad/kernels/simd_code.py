"""What the vector micro-kernels are written with: vector instructions, and the loops over k of a tile."""

from __future__ import annotations

import platform
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features

from jitgrad.kernels.jit import DISABLED, njit

_MULTIPLY_ADD = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define <16 x float> @f(<16 x float> %x) "prefer-vector-width"="512" {
  %y = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %x, <16 x float> %x)
  ret <16 x float> %y
}
"""


def _instructions() -> tuple[bool, bool]:
    """Whether the CPU for which Numba compiles has vectors of 64 bytes, and fused multiply-adds."""
    if config.CPU_NAME is None and config.CPU_FEATURES is None and config.ENABLE_AVX:
        has = llvm.get_host_cpu_features()
        return bool(has.get("avx512f")), bool(has.get("fma"))
    # With NUMBA_CPU_NAME, NUMBA_CPU_FEATURES or NUMBA_ENABLE_AVX=0 one feature may come with another, or with the name: LLVM shows
    # what it makes of a multiply-add. Name and features are put together as Numba does.
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=config.CPU_NAME or llvm.get_host_cpu_name(),
        features=get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES,
    )
    code = machine.emit_assembly(llvm.parse_assembly(_MULTIPLY_ADD))
    return "zmm" in code, "vfmadd" in code


WIDE, _FUSED = (False, False) if DISABLED else _instructions()
VECTOR_BYTES = 64 if WIDE else 32

_X86 = platform.machine().lower() in ("x86_64", "amd64")
PLAIN = DISABLED or (_X86 and not _FUSED)  # plain loops take the place of the micro-kernels


@njit(inline=True)
def lanes(x):  # type: ignore[no-untyped-def]
    """Numbers of an array in a vector."""
    return VECTOR_BYTES // x.itemsize


def places(order: list[int]) -> ir.Constant:
    """Which lanes a shuffle takes."""
    return ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)


class Begin(NamedTuple):
    """What a tile adds its sums to."""

    data: Any
    at: Any
    pitch: Any
    there: Any  # i1, whether there is anything


def multiply(
    c: Emitter, size: tuple[int, int], target: Any, factors: Any, vectors_of_b: Any, K: Any, begin: Begin, whole: Any
) -> None:  # fmt: skip
    """The code of a tile of so many rows and vectors.

    target is data, place, pitch, rows, width; factors are data, place, row and step of a; vectors_of_b are data, place, pitch;
    whole: i1, whether whole vectors of b may be read, whatever the width (masked loads take turns with the multiply-adds).
    """
    builder = c.builder
    most, vectors = size
    out_data, to, pitch, rows, width = target
    a_data, at, a_row, a_step = factors
    b_data, start, b_pitch = vectors_of_b
    masks = [c.lane_mask(width, v * c.lanes) for v in range(vectors)]
    row = c.clamped(rows, most)
    totals = [c.alloca(c.zero) for _ in range(most * vectors)]
    from_row = [builder.add(at, builder.mul(i, a_row)) for i in row]
    for r, v in product(range(most), range(vectors)):  # out may be far larger than the cache: it comes while the sums run
        c.prefetch(out_data, builder.add(to, builder.add(builder.mul(row[r], pitch), c.i64(v * c.lanes))), True)

    def sum_up(masks: list[Any]) -> None:
        with cgutils.for_range(builder, K) as loop:
            place = builder.add(start, builder.mul(loop.index, b_pitch))
            bs = [c.load(b_data, builder.add(place, c.i64(v * c.lanes)), masks[v]) for v in range(vectors)]
            step = builder.mul(loop.index, a_step)
            for r in range(most):
                factor = c.broadcast(builder.load(builder.gep(a_data, [builder.add(from_row[r], step)])), c.vector)
                for v in range(vectors):
                    c.multiply_add(factor, bs[v], totals[r * vectors + v])

    with builder.if_else(whole) as (plain, masked):
        with plain:
            sum_up([c.everywhere] * vectors)
        with masked:
            sum_up([c.everywhere] * (vectors - 1) + masks[-1:])
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


def multiply_dots(c: Emitter, size: tuple[int, int], rows: Any, left: Any, right: Any, K: Any) -> list[Any]:
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

    c.each_vector(K, step)
    return [builder.load(total) for total in totals]


class Emitter:
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
        self.everywhere = ir.Constant(self.mask, [1] * self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def of_lanes(self, lanes: int) -> Emitter:
        """The same with other vectors."""
        return Emitter(self.context, self.builder, self.dtype, lanes)

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

    def inside(self, first: Any, size: Any) -> Any:
        """The mask of the lanes i for which 0 <= first + i < size."""
        words = ir.VectorType(ir.IntType(32), self.lanes)
        lanes = ir.Constant(words, list(range(self.lanes)))
        first, size = (self.broadcast(self.builder.trunc(number, ir.IntType(32)), words) for number in (first, size))
        return self.builder.icmp_unsigned("<", self.builder.add(lanes, first), size)  # below zero is a large unsigned number

    def each_vector(self, n: Any, body: Callable[[Any, Any], None]) -> None:
        """body(k, mask) for each whole vector of n places, then for the lanes that are left."""
        builder, lanes = self.builder, self.i64(self.lanes)
        whole = builder.sdiv(n, lanes)
        with cgutils.for_range(builder, whole) as loop:
            body(builder.mul(loop.index, lanes), self.everywhere)
        done = builder.mul(whole, lanes)
        with builder.if_then(builder.icmp_signed("<", done, n)):
            body(done, self.lane_mask(builder.sub(n, done), 0))

    def call(self, name: str, returns: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(returns, [x.type for x in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def vector_at(self, data: Any, index: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [index]), self.vector.as_pointer())

    def load(self, data: Any, index: Any, mask: Any) -> Any:
        """Vector data[index:], zero where the mask is off, where memory is not touched."""
        return self.call(f"llvm.masked.load.{self.suffix}.p0", self.vector, self.vector_at(data, index), self.align, mask, self.zero)

    def store(self, value: Any, data: Any, index: Any, mask: Any) -> None:
        self.call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), value, self.vector_at(data, index), self.align, mask)

    def prefetch(self, data: Any, index: Any, to_write: bool) -> None:
        """Asks for the cache line of data[index]."""
        place = self.builder.bitcast(self.builder.gep(data, [index]), ir.IntType(8).as_pointer())
        write, soon, is_data = (ir.Constant(ir.IntType(32), value) for value in (int(to_write), 3, 1))
        self.call("llvm.prefetch.p0", ir.VoidType(), place, write, soon, is_data)

    def multiply_add(self, x: Any, y: Any, total: Any) -> None:
        """total += x y, rounded once."""
        self.builder.store(self.call(f"llvm.fma.{self.suffix}", self.vector, x, y, self.builder.load(total)), total)

    def transposed(self, rows: list[Any]) -> list[Any]:
        """The columns of a square of as many rows as lanes."""
        rows, n, distance = list(rows), self.lanes, 1
        while distance < n:  # blocks of so many rows and columns change places with those across the diagonal
            low = [lane + n - distance if lane & distance else lane for lane in range(n)]
            high = [lane + n if lane & distance else lane + distance for lane in range(n)]
            for i in range(n):
                if not i & distance:
                    pair = rows[i], rows[i + distance]
                    rows[i], rows[i + distance] = (self.builder.shuffle_vector(*pair, places(order)) for order in (low, high))
            distance *= 2
        return rows

    def horizontal_sums(self, values: list[Any]) -> list[Any]:
        """The sums over the lanes of each vector, in the lanes of new ones; as many vectors as lanes, or a multiple."""
        even, odd = (places(list(range(start, 2 * self.lanes, 2))) for start in (0, 1))
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
