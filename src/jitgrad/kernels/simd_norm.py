"""Sums over a short row in vector lanes. A row ends with one masked vector, where LLVM's own loop goes on element by element.

Each has a plain-loop twin, for NUMBA_DISABLE_JIT=1 and for x86 without FMA instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

from jitgrad.kernels.jit import SUM, njit
from jitgrad.kernels.simd_code import PLAIN
from jitgrad.kernels.simd_rows import GROUP, Row, sum_row


def _fold(c: Row, n: Any, sums: int, terms: Callable[[Any, Any], list[Any]]) -> list[Any]:
    """The sums over i < n of what terms(i, mask) gives for a vector of i, as numbers; masked terms must be 0."""
    totals = [[c.alloca(c.zero) for _ in range(GROUP)] for _ in range(sums)]

    def add(index: Any, mask: Any, group: int) -> None:
        for places, term in zip(totals, terms(index, mask), strict=True):
            c.add_to(places[group], term)

    def several(index: Any) -> None:
        for group in range(GROUP):
            add(c.builder.add(index, c.i64(group * c.lanes)), c.everywhere, group)

    c.each(n, several, lambda index, mask: add(index, mask, 0))
    return [c.sum_of(places) for places in totals]


def _distance(c: Row, x: Any, m: Any, mask: Any) -> Any:
    return c.builder.select(mask, c.builder.fsub(x, m), c.zero)


@njit(inline=True)
def total(x):  # type: ignore[no-untyped-def]
    """sum x, of a contiguous row."""
    return sum_row(x, 0, x.size)


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
        c = Row(context, builder, sig.args[0].dtype)
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
        c = Row(context, builder, sig.args[0].dtype)
        rows = [c.array(kind, value) for kind, value in zip(sig.args[:3], args[:3], strict=True)]
        centre = c.broadcast(args[3], c.vector)

        def terms(i: Any, mask: Any) -> list[Any]:
            u, w, x = (c.load(row.data, i, mask) for row in rows)
            h = builder.fmul(u, w)
            return [h, builder.select(mask, builder.fmul(h, builder.fsub(x, centre)), c.zero)]

        return context.make_tuple(builder, sig.return_type, _fold(c, rows[0].nitems, 2, terms))

    return types.UniTuple(g.dtype, 2)(g, w, x, g.dtype), code


distances, products = (njit(_plain_distances, fastmath=SUM), njit(_plain_products, fastmath=SUM)) if PLAIN else (_distances, _products)
