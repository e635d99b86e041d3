"""Sums over a short row in vector lanes. A row ends with one masked vector, where LLVM's own loop goes on element by element.

Each has a plain-loop twin, for NUMBA_DISABLE_JIT=1 and for x86 without FMA instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitgrad.kernels.jit import SUM, njit
from jitgrad.kernels.simd_code import PLAIN, Emitter

_SETS = 4  # of accumulators, so that one addition need not wait for the one before


def _fold(c: Emitter, n: Any, sums: int, terms: Callable[[Any, Any], list[Any]]) -> list[Any]:
    """The sums over i < n of what terms(i, mask) gives for a vector of i, as numbers; masked terms must be 0."""
    builder = c.builder
    totals = [[c.alloca(c.zero) for _ in range(sums)] for _ in range(_SETS)]

    def add(index: Any, mask: Any, places: list[Any]) -> None:
        for term, place in zip(terms(index, mask), places, strict=True):
            builder.store(builder.fadd(builder.load(place), term), place)

    pitch = c.i64(_SETS * c.lanes)
    whole = builder.sdiv(n, pitch)
    everything = ir.Constant(c.mask, [1] * c.lanes)
    with cgutils.for_range(builder, whole) as loop:
        start = builder.mul(loop.index, pitch)
        for k in range(_SETS):
            add(builder.add(start, c.i64(k * c.lanes)), everything, totals[k])
    done = builder.mul(whole, pitch)
    left = builder.sub(n, done)
    with cgutils.for_range(builder, builder.sdiv(builder.add(left, c.i64(c.lanes - 1)), c.i64(c.lanes))) as loop:
        start = builder.mul(loop.index, c.i64(c.lanes))
        add(builder.add(done, start), c.lane_mask(builder.sub(left, start), 0), totals[0])
    results = []
    for s in range(sums):
        a, b, d, e = (builder.load(totals[k][s]) for k in range(_SETS))
        results.append(_lane_sum(c, builder.fadd(builder.fadd(a, b), builder.fadd(d, e))))
    return results


def _lane_sum(c: Emitter, value: Any) -> Any:
    """The sum over the lanes of one vector: halves are added until one lane is left."""
    half = c.lanes // 2
    while half:
        places = [*range(half, 2 * half), *[0] * (c.lanes - half)]
        moved = c.builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(ir.IntType(32), c.lanes), places))
        value, half = c.builder.fadd(value, moved), half // 2
    return c.builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


def _distance(c: Emitter, x: Any, m: Any, mask: Any) -> Any:
    return c.builder.select(mask, c.builder.fsub(x, m), c.zero)


def _plain_total(x):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@intrinsic
def _total(typingctx, x):  # type: ignore[no-untyped-def]
    """sum x, of a contiguous row."""

    def code(context, builder, sig, args):  # type: ignore[no-untyped-def]
        c = Emitter(context, builder, sig.args[0].dtype)
        row = c.array(sig.args[0], args[0])
        return _fold(c, row.nitems, 1, lambda i, mask: [c.load(row.data, i, mask)])[0]

    return x.dtype(x), code


def _plain_distances(x, m):  # type: ignore[no-untyped-def]
    e, q = x.dtype.type(0), x.dtype.type(0)
    for i in range(x.size):
        d = x[i] - m
        e += d
        q += d * d
    return e, q


@intrinsic
def _distances(typingctx, x, m):  # type: ignore[no-untyped-def]
    """sum (x - m) and sum (x - m)^2, of a contiguous row."""

    def code(context, builder, sig, args):  # type: ignore[no-untyped-def]
        c = Emitter(context, builder, sig.args[0].dtype)
        row, centre = c.array(sig.args[0], args[0]), c.broadcast(args[1], c.vector)

        def terms(i: Any, mask: Any) -> list[Any]:
            d = _distance(c, c.load(row.data, i, mask), centre, mask)
            return [d, builder.fmul(d, d)]

        return context.make_tuple(builder, sig.return_type, _fold(c, row.nitems, 2, terms))

    return types.UniTuple(x.dtype, 2)(x, x.dtype), code


def _plain_products(g, w, x, m):  # type: ignore[no-untyped-def]
    total, along = g.dtype.type(0), g.dtype.type(0)
    for i in range(g.size):
        h = g[i] * w[i]
        total += h
        along += h * (x[i] - m)
    return total, along


@intrinsic
def _products(typingctx, g, w, x, m):  # type: ignore[no-untyped-def]
    """sum g w and sum g w (x - m), of contiguous rows."""

    def code(context, builder, sig, args):  # type: ignore[no-untyped-def]
        c = Emitter(context, builder, sig.args[0].dtype)
        rows = [c.array(kind, value) for kind, value in zip(sig.args[:3], args[:3], strict=True)]
        centre = c.broadcast(args[3], c.vector)

        def terms(i: Any, mask: Any) -> list[Any]:
            u, w, x = (c.load(row.data, i, mask) for row in rows)
            h = builder.fmul(u, w)
            return [h, builder.select(mask, builder.fmul(h, builder.fsub(x, centre)), c.zero)]

        return context.make_tuple(builder, sig.return_type, _fold(c, rows[0].nitems, 2, terms))

    return types.UniTuple(g.dtype, 2)(g, w, x, g.dtype), code


if PLAIN:
    total, distances, products = (njit(f, fastmath=SUM) for f in (_plain_total, _plain_distances, _plain_products))
else:
    total, distances, products = _total, _distances, _products
