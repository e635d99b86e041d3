"""Vector micro-kernels of depthwise convolutions, as those of simd.py: sums over taps of one plane, in registers while the taps go by.

What lies outside of the plane reads as zero: loads leave those lanes out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd_code import PLAIN, Emitter, places

PLANE_ROWS = 4  # worked out at a time
PLANE_DOTS = 3  # taps whose gradients are summed at a time


def _plain(out, to, pitch, rows, n, begin, more, x, at, H, W, top, left, up, stride, down, right, w, tap, count, across, below, spread):  # type: ignore[no-untyped-def]
    for i in range(rows):
        for j in range(n):
            total = out[to + i * pitch + j] if more else begin
            for k in range(count):
                for m in range(across):
                    r, q = top + i * up + k * down, left + j * stride + m * right
                    if 0 <= r < H and q % spread == 0 and 0 <= q // spread < W:
                        total += w[tap + k * below + m] * x[at + r * W + q // spread]
            out[to + i * pitch + j] = total


def _plain_rows(out, to, pitch, rows, n, begin, more, x, at, H, W, top, left, up, stride, down, right, w, tap, count, across, below):  # type: ignore[no-untyped-def]
    _sum_plain(out, to, pitch, rows, n, begin, more, x, at, H, W, top, left, up, stride, down, right, w, tap, count, across, below, 1)


def _plain_seconds(out, to, pitch, rows, n, begin, more, x, at, H, W, top, left, up, stride, down, right, w, tap, count, across, below):  # type: ignore[no-untyped-def]
    _sum_plain(out, to, pitch, rows, n, begin, more, x, at, H, W, top, left, up, 1, down, right, w, tap, count, across, below, 2)


_sum_plain = njit(_plain)


def _types(*given: Any) -> Any:
    kinds = {0: given[0], 5: given[0].dtype, 6: types.boolean, 7: given[7], 17: given[17]}
    return types.void(*(kinds.get(i, types.intp) for i in range(len(given))))


@intrinsic
def _rows(typingctx, out, to, pitch, rows, n, begin, more, x, at, H, W, top, left, up, stride, down, right, w, tap, count, across, below):  # type: ignore[no-untyped-def]
    """out[to + i pitch + j] = (more ? itself : begin) + sum over k < count, m < across of w[tap + k below + m] x[at + r W + q]

    for i < rows <= PLANE_ROWS, j < n, where r = top + i up + k down and q = left + j stride + m right lie in the (H, W) of x. The
    stride is 1 or 2; all arrays flat.
    """
    sig = _types(out, to, pitch, rows, n, begin, more, x, at, H, W, top, left, up, stride, down, right, w, tap, count, across, below)
    return sig, _rows_code


@intrinsic
def _seconds(
    typingctx, out, to, pitch, rows, n, begin, more, x, at, H, W, top, left, up, stride, down, right, w, tap, count, across, below
):  # type: ignore[no-untyped-def]
    """plane_rows with q = (left + j + m right) / 2 where that is a whole number; the stride is 2."""
    sig = _types(out, to, pitch, rows, n, begin, more, x, at, H, W, top, left, up, stride, down, right, w, tap, count, across, below)
    return sig, _seconds_code


class _Plane:
    """What the two micro-kernels share."""

    def __init__(self, context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> None:
        _, self.to, self.pitch, self.rows, self.n, self.begin, self.more, _, at, self.H, self.W, self.top, self.left = args[:13]
        self.up, self.stride, self.down, self.right, _, tap, self.count, self.across, self.below = args[13:]
        self.c, self.builder = Emitter(context, builder, sig.args[0].dtype), builder
        self.out, x, w = (self.c.array(sig.args[i], args[i]).data for i in (0, 7, 17))
        self.x, self.w = builder.gep(x, [at]), builder.gep(w, [tap])

    def blocks(self, vectors: int, body: Callable[[Any, list[list[Any]]], None]) -> None:
        """body(column, sums of each row) for so many vectors of the rows in turn."""
        builder, c = self.builder, self.c
        size = c.i64(vectors * c.lanes)
        begin = c.broadcast(self.begin, c.vector)
        with cgutils.for_range(builder, builder.sdiv(builder.add(self.n, builder.sub(size, c.i64(1))), size)) as block:
            j = builder.mul(block.index, size)
            masks = [c.lane_mask(builder.sub(self.n, j), v * c.lanes) for v in range(vectors)]
            spots, totals = [], []
            for i in range(PLANE_ROWS):
                real = c.broadcast(builder.icmp_signed("<", c.i64(i), self.rows), c.mask)
                line = builder.add(builder.add(self.to, j), builder.mul(self.pitch, c.i64(i)))
                spots.append([(builder.add(line, c.i64(v * c.lanes)), builder.and_(real, mask)) for v, mask in enumerate(masks)])
                totals.append([c.alloca(begin) for _ in masks])
            every = [(spot, total) for row in zip(spots, totals, strict=True) for spot, total in zip(*row, strict=True)]
            with builder.if_then(self.more):
                for (place, mask), total in every:
                    builder.store(c.load(self.out, place, mask), total)
            body(j, totals)
            for (place, mask), total in every:
                c.store(builder.load(total), self.out, place, mask)

    def taps(self, m: Any, load: Callable[[Any, Any], list[Any]], totals: list[list[Any]]) -> None:
        """Adds w[k, m] load(start of row r, whether r is in the plane) for all k and rows."""
        builder, c = self.builder, self.c
        weights = builder.gep(self.w, [m])
        with cgutils.for_range(builder, self.count) as tap:
            factor = c.broadcast(builder.load(builder.gep(weights, [builder.mul(tap.index, self.below)])), c.vector)
            first = builder.add(self.top, builder.mul(tap.index, self.down))
            for i, row in enumerate(totals):
                r = builder.add(first, builder.mul(self.up, c.i64(i)))
                there = c.broadcast(builder.icmp_unsigned("<", r, self.H), c.mask)
                for x, total in zip(load(builder.mul(r, self.W), there), row, strict=True):
                    c.multiply_add(factor, x, total)


def _rows_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    plane = _Plane(context, builder, sig, args)
    c = plane.c

    def body(j: Any, totals: list[list[Any]]) -> None:
        def sums(step: int) -> None:
            first = builder.add(plane.left, builder.mul(j, c.i64(step)))
            with cgutils.for_range(builder, plane.across) as tap:
                column = builder.add(first, builder.mul(tap.index, plane.right))
                columns = [builder.add(column, c.i64(i * c.lanes)) for i in range(step)]
                masks = [c.inside(q, plane.W) for q in columns]

                def load(row: Any, there: Any) -> list[Any]:
                    xs = [c.load(plane.x, builder.add(row, q), builder.and_(mask, there)) for q, mask in zip(columns, masks, strict=True)]
                    return xs if step == 1 else [builder.shuffle_vector(*xs, places(list(range(0, 2 * c.lanes, 2))))]

                plane.taps(tap.index, load, totals)

        with builder.if_else(builder.icmp_signed("==", plane.stride, c.i64(1))) as (ones, twos):
            with ones:
                sums(1)
            with twos:
                sums(2)

    plane.blocks(1, body)
    return context.get_dummy_value()


def _seconds_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    plane = _Plane(context, builder, sig, args)
    c = plane.c
    # A vector of x spread over two, in the even lanes or the odd ones; lane `lanes` is a zero.
    even, odd = (
        [places([(half + i) // 2 if i % 2 == rest else c.lanes for i in range(c.lanes)]) for half in (0, c.lanes)] for rest in (0, 1)
    )

    def body(j: Any, totals: list[list[Any]]) -> None:
        first = builder.add(j, plane.left)
        with cgutils.for_range(builder, plane.across) as tap:
            column = builder.add(first, builder.mul(tap.index, plane.right))
            rest = builder.and_(column, c.i64(1))
            q = builder.ashr(builder.add(column, rest), c.i64(1))  # which the first column reads, or where the rest is 1 the second
            mask = c.inside(q, plane.W)

            def load(row: Any, there: Any, halves: list[ir.Constant]) -> list[Any]:
                x = c.load(plane.x, builder.add(row, q), builder.and_(mask, there))
                return [builder.shuffle_vector(x, c.zero, half) for half in halves]

            with builder.if_else(builder.icmp_signed("==", rest, c.i64(0))) as (evens, odds):
                with evens:
                    plane.taps(tap.index, lambda row, there: load(row, there, even), totals)
                with odds:
                    plane.taps(tap.index, lambda row, there: load(row, there, odd), totals)

    plane.blocks(2, body)
    return context.get_dummy_value()


def _plain_dots(out, images, g, g_at, g_pitch, n, rows, x, at, x_pitch, down, W, left, stride, right, count):  # type: ignore[no-untyped-def]
    for k in range(count):
        out[k] = 0
        for i in range(images):
            for r in range(rows):
                for j in range(n):
                    q = left + j * stride + k * right
                    if 0 <= q < W:
                        out[k] += g[g_at + i * g_pitch + r * n + j] * x[at + i * x_pitch + r * down + q]


@intrinsic
def _dots(typingctx, out, images, g, g_at, g_pitch, n, rows, x, at, x_pitch, down, W, left, stride, right, count):  # type: ignore[no-untyped-def]
    """out[k] = sum over i < images, r < rows, j < n of g[g_at + i g_pitch + r n + j] x[at + i x_pitch + r down + q]

    for k < count <= PLANE_DOTS, where q = left + j stride + k right lies in a row of W numbers. The stride is 1 or 2; all arrays flat;
    out has room for a vector.
    """
    arrays = {0: out, 2: g, 7: x}
    return types.void(*(arrays.get(i, types.intp) for i in range(16))), _dots_code


def _dots_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, images, _, g_at, g_pitch, n, rows, _, at, x_pitch, down, W, left, stride, right, count = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out, g, x = (c.array(sig.args[i], args[i]).data for i in (0, 2, 7))
    totals = [c.alloca(c.zero) for _ in range(PLANE_DOTS)]
    ks = c.clamped(count, PLANE_DOTS)

    def sums(step: int) -> None:
        with cgutils.for_range(builder, builder.sdiv(builder.add(n, c.i64(c.lanes - 1)), c.i64(c.lanes))) as vector:
            j = builder.mul(vector.index, c.i64(c.lanes))
            mask = c.lane_mask(builder.sub(n, j), 0)
            first = builder.add(left, builder.mul(j, c.i64(step)))
            starts = [builder.add(first, builder.mul(k, right)) for k in ks]
            columns = [[builder.add(q, c.i64(i * c.lanes)) for i in range(step)] for q in starts]
            inside = [[c.inside(q, W) for q in some] for some in columns]
            with cgutils.for_range(builder, images) as image:
                from_g = builder.add(builder.add(g_at, j), builder.mul(image.index, g_pitch))
                from_x = builder.add(at, builder.mul(image.index, x_pitch))
                with cgutils.for_range(builder, rows) as row:
                    y = c.load(g, builder.add(from_g, builder.mul(row.index, n)), mask)
                    start = builder.add(from_x, builder.mul(row.index, down))
                    for some, masks, total in zip(columns, inside, totals, strict=True):
                        xs = [c.load(x, builder.add(start, q), m) for q, m in zip(some, masks, strict=True)]
                        value = xs[0] if step == 1 else builder.shuffle_vector(*xs, places(list(range(0, 2 * c.lanes, 2))))
                        c.multiply_add(y, value, total)

    with builder.if_else(builder.icmp_signed("==", stride, c.i64(1))) as (ones, twos):
        with ones:
            sums(1)
        with twos:
            sums(2)
    dots = [builder.load(total) for total in totals]
    (result,) = c.horizontal_sums(dots + [c.zero] * (-len(dots) % c.lanes))
    builder.store(result, c.vector_at(out, c.i64(0)), align=c.itemsize)
    return context.get_dummy_value()


_PLAIN = _plain_rows, _plain_seconds, _plain_dots
plane_rows, plane_seconds, plane_dots = tuple(map(njit, _PLAIN)) if PLAIN else (_rows, _seconds, _dots)
