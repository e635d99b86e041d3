"""Vector micro-kernels of reductions: what is done to one row of a flat array, whose last vector is seldom full.

LLVM adds up a long row well, but ends it one element at a time, and finds no vector form for a maximum in which NaN wins.
Each has a plain-loop twin, as those of simd.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd_code import PLAIN, VECTOR_BYTES, Emitter

GROUP = 4  # vectors in flight: the next need not wait for the last addition
COLUMN_VECTORS = 4  # side by side in a sum of columns
COLUMN_BYTES = COLUMN_VECTORS * VECTOR_BYTES


class Row(Emitter):
    """Writes loops over the n elements of a row."""

    def each(self, n: Any, several: Callable[[Any], None], one: Callable[[Any, Any], None]) -> None:
        """several(k) for each GROUP whole vectors from k on, then one(k, mask) for each of the rest."""
        builder, lanes = self.builder, self.i64(self.lanes)
        groups = builder.sdiv(n, self.i64(GROUP * self.lanes))
        with cgutils.for_range(builder, groups) as loop:
            several(builder.mul(loop.index, self.i64(GROUP * self.lanes)))
        done = builder.mul(groups, self.i64(GROUP * self.lanes))
        rest = builder.sub(n, done)
        with cgutils.for_range(builder, builder.sdiv(builder.add(rest, self.i64(self.lanes - 1)), lanes)) as loop:
            k = builder.mul(loop.index, lanes)
            one(builder.add(done, k), self.lane_mask(builder.sub(rest, k), 0))

    def whole(self, data: Any, at: Any, k: Any, vector: int = 0) -> Any:
        """Vector data[at + k:], or one of those after it."""
        place = self.builder.add(self.builder.add(at, k), self.i64(vector * self.lanes))
        return self.builder.load(self.vector_at(data, place), align=self.itemsize)

    def part(self, data: Any, at: Any, k: Any, mask: Any) -> Any:
        """Vector data[at + k:], zero where the mask is off."""
        return self.load(data, self.builder.add(at, k), mask)

    def add_to(self, total: Any, value: Any) -> None:
        self.builder.store(self.builder.fadd(self.builder.load(total), value), total)

    def sum_of(self, totals: list[Any]) -> Any:
        """The number that places with vectors add up to."""
        a, b, c, d = (self.builder.load(total) for total in totals)
        both = self.builder.fadd(self.builder.fadd(a, b), self.builder.fadd(c, d))
        return self.across("fadd", both, ir.Constant(self.number, 0.0))

    def across(self, name: str, value: Any, *first: Any) -> Any:
        """The lanes of a vector put together; in any order, and none is NaN where the largest is asked for."""
        kind = ir.FunctionType(self.number, [*(x.type for x in first), self.vector])
        reduce = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.vector.reduce.{name}.{self.suffix}")
        flags = ("reassoc",) if name == "fadd" else ("nnan", "nsz")
        return self.builder.call(reduce, [*first, value], fastmath=flags)

    def any(self, mask: Any) -> Any:
        """Whether a lane of the mask is on."""
        bits = ir.IntType(self.lanes)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(mask, bits), ir.Constant(bits, 0))


# ---- sums


def _plain_sum_row(x, at, n):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for k in range(n):
        total += x[at + k]
    return total


@intrinsic
def _sum_row(typingctx, x, at, n):  # type: ignore[no-untyped-def]
    """sum_k x[at + k] for k < n, in the lanes of four vectors: for rows of no more than some thousand elements."""
    return x.dtype(x, types.intp, types.intp), _sum_row_code


def _sum_row_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    x, at, n = args
    c = Row(context, builder, sig.args[0].dtype)
    data = c.array(sig.args[0], x).data
    totals = [c.alloca(c.zero) for _ in range(GROUP)]

    def several(k: Any) -> None:
        for v, total in enumerate(totals):
            c.add_to(total, c.whole(data, at, k, v))

    c.each(n, several, lambda k, mask: c.add_to(totals[0], c.part(data, at, k, mask)))
    return c.sum_of(totals)


def _plain_dot_row(x, y, at, n):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for k in range(n):
        total += x[at + k] * y[at + k]
    return total


@intrinsic
def _dot_row(typingctx, x, y, at, n):  # type: ignore[no-untyped-def]
    """sum_k x[at + k] y[at + k] for k < n, as _sum_row."""
    return x.dtype(x, y, types.intp, types.intp), _dot_row_code


def _dot_row_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    x, y, at, n = args
    c = Row(context, builder, sig.args[0].dtype)
    x_data, y_data = c.array(sig.args[0], x).data, c.array(sig.args[1], y).data
    totals = [c.alloca(c.zero) for _ in range(GROUP)]

    def several(k: Any) -> None:
        for v, total in enumerate(totals):
            c.multiply_add(c.whole(x_data, at, k, v), c.whole(y_data, at, k, v), total)

    c.each(n, several, lambda k, mask: c.multiply_add(c.part(x_data, at, k, mask), c.part(y_data, at, k, mask), totals[0]))
    return c.sum_of(totals)


def _plain_add_columns(x, at, pitch, rows, width, total, to):  # type: ignore[no-untyped-def]
    for j in range(width):
        part = x.dtype.type(0)
        for k in range(rows):
            part += x[at + k * pitch + j]
        total[to + j] += part


@intrinsic
def _add_columns(typingctx, x, at, pitch, rows, width, total, to):  # type: ignore[no-untyped-def]
    """total[to + j] += sum_k x[at + k pitch + j] for k < rows and j < width <= COLUMN_VECTORS vectors; total may be float64."""
    return types.void(x, *(types.intp,) * 4, total, types.intp), _add_columns_code


def _add_columns_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    x, at, pitch, rows, width, total, to = args
    c = Row(context, builder, sig.args[0].dtype)
    wide = Row(context, builder, sig.args[5].dtype, c.lanes)
    data, total_data = c.array(sig.args[0], x).data, c.array(sig.args[5], total).data
    masks = [c.lane_mask(width, v * c.lanes) for v in range(COLUMN_VECTORS)]
    sums = [c.alloca(c.zero) for _ in masks]
    with cgutils.for_range(builder, rows) as loop:
        place = builder.add(at, builder.mul(loop.index, pitch))
        for v, mask in enumerate(masks):
            c.add_to(sums[v], c.part(data, place, c.i64(v * c.lanes), mask))
    for v, mask in enumerate(masks):
        index = builder.add(to, c.i64(v * c.lanes))
        more = builder.load(sums[v])
        more = more if wide.number == c.number else builder.fpext(more, wide.vector)
        wide.store(builder.fadd(wide.load(total_data, index, mask), more), total_data, index, mask)
    return context.get_dummy_value()


# ---- maxima


def _plain_max_row(x, at, n):  # type: ignore[no-untyped-def]
    high = x.dtype.type(-np.inf)
    for k in range(n):
        v = x[at + k]
        high = v if not (v <= high) and high == high else high
    return high


@intrinsic
def _max_row(typingctx, x, at, n):  # type: ignore[no-untyped-def]
    """The largest x[at + k] for k < n, NaN if there is one."""
    return x.dtype(x, types.intp, types.intp), _max_row_code


def _max_row_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    x, at, n = args
    c = Row(context, builder, sig.args[0].dtype)
    data = c.array(sig.args[0], x).data
    lowest = ir.Constant(c.vector, [float("-inf")] * c.lanes)
    highs = [c.alloca(lowest) for _ in range(GROUP)]
    strange = c.alloca(ir.Constant(c.mask, [0] * c.lanes))  # lanes that met a NaN: no comparison lets it into a maximum

    def keep(high: Any, v: Any) -> None:
        before = builder.load(high)
        builder.store(builder.select(builder.fcmp_ordered(">", v, before), v, before), high)

    def look(v: Any, w: Any) -> None:
        builder.store(builder.or_(builder.load(strange), builder.fcmp_unordered("uno", v, w)), strange)

    def several(k: Any) -> None:
        vectors = [c.whole(data, at, k, v) for v in range(GROUP)]
        for v, w in zip(vectors[::2], vectors[1::2], strict=True):
            look(v, w)
        for high, v in zip(highs, vectors, strict=True):
            keep(high, v)

    def one(k: Any, mask: Any) -> None:
        v = builder.select(mask, c.part(data, at, k, mask), lowest)
        look(v, v)
        keep(highs[0], v)

    c.each(n, several, one)
    for high in highs[1:]:
        keep(highs[0], builder.load(high))
    nan = ir.Constant(c.number, float("nan"))
    return builder.select(c.any(builder.load(strange)), nan, c.across("fmax", builder.load(highs[0])))


def _plain_find(x, at, n, value):  # type: ignore[no-untyped-def]
    for k in range(n):
        v = x[at + k]
        if v == value or v != v:
            return k
    return n


@intrinsic
def _find(typingctx, x, at, n, value):  # type: ignore[no-untyped-def]
    """The first k < n with x[at + k] == value, or NaN there; n if there is none."""
    return types.intp(x, types.intp, types.intp, x.dtype), _find_code


def _find_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    x, at, n, value = args
    c = Row(context, builder, sig.args[0].dtype)
    data = c.array(sig.args[0], x).data
    wanted = c.broadcast(value, c.vector)
    place = c.alloca(n)
    steps = builder.sdiv(builder.add(n, c.i64(c.lanes - 1)), c.i64(c.lanes))
    bits = ir.IntType(c.lanes)
    with cgutils.for_range(builder, steps) as loop:
        k = builder.mul(loop.index, c.i64(c.lanes))
        left = builder.sub(n, k)  # which a mask takes no larger than a vector: a row may be longer than 2**31
        mask = c.lane_mask(builder.select(builder.icmp_signed("<", left, c.i64(c.lanes)), left, c.i64(c.lanes)), 0)
        v = c.part(data, at, k, mask)
        hit = builder.and_(mask, builder.or_(builder.fcmp_ordered("==", v, wanted), builder.fcmp_unordered("uno", v, v)))
        with builder.if_then(c.any(hit), likely=False):
            first = builder.cttz(builder.bitcast(hit, bits), ir.Constant(ir.IntType(1), 1))
            builder.store(builder.add(k, builder.zext(first, ir.IntType(64))), place)
            loop.do_break()
    return builder.load(place)


sum_row, dot_row, add_columns, max_row, find = (
    (njit(_plain_sum_row), njit(_plain_dot_row), njit(_plain_add_columns), njit(_plain_max_row), njit(_plain_find))
    if PLAIN
    else (_sum_row, _dot_row, _add_columns, _max_row, _find)
)
