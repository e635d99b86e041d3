"""Vector micro-kernels of pooling, as those of simd.py: what goes down the columns of an image, for rows of any length.

LLVM makes vector code of such loops too, but for rows of several vectors only, and those of pooled images are short.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd_code import PLAIN, Emitter


def _plain_max_down(best, where, to, plane, start, count, step, W, index, index_step):  # type: ignore[no-untyped-def]
    for j in range(W):
        b, i = plane[start + j], 0
        for k in range(1, count):
            v = plane[start + k * step + j]
            if not v <= b and b == b:
                b, i = v, k
        best[to + j], where[to + j] = b, index + i * index_step + j


@intrinsic
def _max_down(typingctx, best, where, to, plane, start, count, step, W, index, index_step):  # type: ignore[no-untyped-def]
    """best[to + j] = max_k plane[start + k step + j], where[to + j] = index + k index_step + j, for k < count and j < W; all arrays flat.

    The first maximum, and the first NaN before any number.
    """
    arrays = {0: best, 1: where, 3: plane}
    return types.void(*(arrays.get(i, types.intp) for i in range(10))), _max_down_code


def _max_down_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, _, to, _, start, count, step, W, index, index_step = args
    c = Emitter(context, builder, sig.args[0].dtype)
    best_data, where_data, data = (c.array(sig.args[i], args[i]).data for i in (0, 1, 3))
    word = context.get_value_type(sig.args[1].dtype)
    words = ir.VectorType(word, c.lanes)
    lanes = ir.Constant(words, list(range(c.lanes)))

    def block(j: Any, mask: Any) -> None:
        def indices(k: Any) -> Any:
            first = builder.add(builder.add(index, j), builder.mul(k, index_step))
            return builder.add(c.broadcast(builder.trunc(first, word) if word.width < 64 else first, words), lanes)

        at = builder.add(start, j)
        b, i = c.alloca(c.load(data, at, mask)), c.alloca(indices(c.i64(0)))
        with cgutils.for_range(builder, builder.sub(count, c.i64(1))) as loop:
            k = builder.add(loop.index, c.i64(1))
            v, old = c.load(data, builder.add(at, builder.mul(k, step)), mask), builder.load(b)
            takes = builder.and_(builder.fcmp_unordered(">", v, old), builder.fcmp_ordered("ord", old, old))
            builder.store(builder.select(takes, v, old), b)
            builder.store(builder.select(takes, indices(k), builder.load(i)), i)
        place = builder.add(to, j)
        c.store(builder.load(b), best_data, place, mask)
        target = builder.bitcast(builder.gep(where_data, [place]), words.as_pointer())
        align = ir.Constant(ir.IntType(32), word.width // 8)
        c.call(f"llvm.masked.store.v{c.lanes}i{word.width}.p0", ir.VoidType(), builder.load(i), target, align, mask)

    c.each_vector(W, block)
    return context.get_dummy_value()


def _plain_sum_down(sums, to, plane, start, count, step, W):  # type: ignore[no-untyped-def]
    for j in range(W):
        total = sums.dtype.type(0)
        for k in range(count):
            total += plane[start + k * step + j]
        sums[to + j] = total


@intrinsic
def _sum_down(typingctx, sums, to, plane, start, count, step, W):  # type: ignore[no-untyped-def]
    """sums[to + j] = sum_k plane[start + k step + j], for k < count and j < W; all arrays flat."""
    arrays = {0: sums, 2: plane}
    return types.void(*(arrays.get(i, types.intp) for i in range(7))), _sum_down_code


def _sum_down_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, to, _, start, count, step, W = args
    c = Emitter(context, builder, sig.args[0].dtype)
    out, data = (c.array(sig.args[i], args[i]).data for i in (0, 2))

    def block(j: Any, mask: Any) -> None:
        total, at = c.alloca(c.zero), builder.add(start, j)
        with cgutils.for_range(builder, count) as loop:
            v = c.load(data, builder.add(at, builder.mul(loop.index, step)), mask)
            builder.store(builder.fadd(builder.load(total), v), total)
        c.store(builder.load(total), out, builder.add(to, j), mask)

    c.each_vector(W, block)
    return context.get_dummy_value()


def _plain_put_down(out, to, row, at, count, step, W, more):  # type: ignore[no-untyped-def]
    for k in range(count):
        for j in range(W):
            place = to + k * step + j
            out[place] = row[at + j] + out[place] if more else row[at + j]


@intrinsic
def _put_down(typingctx, out, to, row, at, count, step, W, more):  # type: ignore[no-untyped-def]
    """out[to + k step + j] = row[at + j] + (more and itself), for k < count and j < W; all arrays flat."""
    arrays = {0: out, 2: row, 7: types.boolean}
    return types.void(*(arrays.get(i, types.intp) for i in range(8))), _put_down_code


def _put_down_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    _, to, _, at, count, step, W, more = args
    c = Emitter(context, builder, sig.args[0].dtype)
    target, data = (c.array(sig.args[i], args[i]).data for i in (0, 2))

    def block(j: Any, mask: Any) -> None:
        v = c.load(data, builder.add(at, j), mask)
        old = builder.and_(mask, c.broadcast(more, c.mask))
        with cgutils.for_range(builder, count) as loop:
            place = builder.add(builder.add(to, j), builder.mul(loop.index, step))
            c.store(builder.fadd(v, c.load(target, place, old)), target, place, mask)

    c.each_vector(W, block)
    return context.get_dummy_value()


if PLAIN:
    max_down, sum_down, put_down = njit(_plain_max_down), njit(_plain_sum_down), njit(_plain_put_down)
else:
    max_down, sum_down, put_down = _max_down, _sum_down, _put_down
