"""Vector micro-kernels of softmax: what is done to each element of a row, exponentials among it.

A number belongs to the whole row (rows) or to each element of it (columns, where the numbers are arrays). All arrays are flat;
`at`, `to` and `j` are where the row begins in the arrays before them. Twins as in simd.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd_code import PLAIN
from jitgrad.kernels.simd_rows import GROUP, Row


class Exponentials(Row):
    """Writes e^x = 2^n e^r, |r| <= ln(2) / 2, as base.py does, e^r by its Taylor polynomial."""

    def of_shape(self, value: Any) -> Any:
        return ir.Constant(self.vector, [float(value)] * self.lanes)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        return self.call(f"llvm.fma.{self.suffix}", self.vector, x, y, z)

    def exp(self, x: Any) -> Any:
        """e^x for vectors x <= 0 or NaN; 0 where it would be subnormal."""
        builder, single = self.builder, self.dtype.bitwidth == 32
        degree, lowest, fraction, bias = (7, -87.3, 23, 127) if single else (13, -708.3, 52, 1023)
        ln2 = (0.693359375, -2.12194440e-4) if single else (0.6931471803691238, 1.9082149292705877e-10)  # n times the first is exact
        # To a number this large only whole ones can be added: its last bits become n + bias, the exponent's bits of 2^n.
        large = self.of_shape(1.5 * 2.0**fraction + bias)
        shifted = self.fma(x, self.of_shape(1 / math.log(2)), large)
        n = builder.fsub(shifted, large)
        r = self.fma(n, self.of_shape(-ln2[1]), self.fma(n, self.of_shape(-ln2[0]), x))
        p = self.of_shape(1 / math.factorial(degree))
        for k in reversed(range(degree)):
            p = self.fma(p, r, self.of_shape(1 / math.factorial(k)))
        words = ir.VectorType(ir.IntType(self.dtype.bitwidth), self.lanes)
        bits = builder.shl(builder.bitcast(shifted, words), ir.Constant(words, [fraction] * self.lanes))
        y = builder.fmul(p, builder.bitcast(bits, self.vector))
        return builder.select(builder.fcmp_ordered("<", x, self.of_shape(lowest)), self.zero, y)


def _map_code(function: Callable[..., Any], arrays: int) -> Callable[..., Any]:
    """The code of out[to + k] = function(c, vectors of the arrays, vectors of the numbers) for k < n.

    Arguments: each array and its place, out, to, n, the numbers.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        c = Exponentials(context, builder, sig.args[0].dtype)
        data = [(c.array(sig.args[i], args[i]).data, args[i + 1]) for i in range(0, 2 * arrays, 2)]
        out, to, n = c.array(sig.args[2 * arrays], args[2 * arrays]).data, *args[2 * arrays + 1 : 2 * arrays + 3]
        numbers = [c.broadcast(value, c.vector) for value in args[2 * arrays + 3 :]]

        def several(k: Any) -> None:
            for v in range(GROUP):
                value = function(c, *(c.whole(d, at, k, v) for d, at in data), *numbers)
                place = builder.add(builder.add(to, k), c.i64(v * c.lanes))
                builder.store(value, c.vector_at(out, place), align=c.itemsize)

        def one(k: Any, mask: Any) -> None:
            value = function(c, *(c.part(d, at, k, mask) for d, at in data), *numbers)
            c.store(value, out, builder.add(to, k), mask)

        c.each(n, several, one)
        return context.get_dummy_value()

    return codegen


# ---- exponentials and their sums


def _plain_exp_row(x, at, out, to, n, a):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for k in range(n):
        out[to + k] = math.exp(x[at + k] - a)
        total += out[to + k]
    return total


@intrinsic
def _exp_row(typingctx, x, at, out, to, n, a):  # type: ignore[no-untyped-def]
    """out[to + k] = exp(x[at + k] - a) for k < n, a the largest x; returns their sum. For rows of no more than some thousand elements."""
    return x.dtype(x, types.intp, out, types.intp, types.intp, x.dtype), _exp_row_code


def _exp_row_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    x, at, out, to, n, a = args
    return _exp_sum(context, builder, sig.args[0], (x, at, n, a), (sig.args[2], out, to))


def _plain_sum_exp_row(x, at, n, a):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for k in range(n):
        total += x.dtype.type(math.exp(x[at + k] - a))
    return total


@intrinsic
def _sum_exp_row(typingctx, x, at, n, a):  # type: ignore[no-untyped-def]
    """sum_k exp(x[at + k] - a) for k < n, as _exp_row."""
    return x.dtype(x, types.intp, types.intp, x.dtype), _sum_exp_row_code


def _sum_exp_row_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    return _exp_sum(context, builder, sig.args[0], args, None)


def _exp_sum(context: Any, builder: ir.IRBuilder, kind: Any, args: Any, target: Any) -> Any:
    """The sum of exp(x - a), and the code that stores them in target (type, array, place), if any."""
    x, at, n, a = args
    c = Exponentials(context, builder, kind.dtype)
    data = c.array(kind, x).data
    out, to = (None, None) if target is None else (c.array(*target[:2]).data, target[2])
    largest = c.broadcast(a, c.vector)
    totals = [c.alloca(c.zero) for _ in range(GROUP)]

    def several(k: Any) -> None:
        for v, total in enumerate(totals):
            e = c.exp(builder.fsub(c.whole(data, at, k, v), largest))
            c.add_to(total, e)
            if out is not None:
                place = builder.add(builder.add(to, k), c.i64(v * c.lanes))
                builder.store(e, c.vector_at(out, place), align=c.itemsize)

    def one(k: Any, mask: Any) -> None:
        e = c.exp(builder.fsub(c.part(data, at, k, mask), largest))
        c.add_to(totals[0], builder.select(mask, e, c.zero))
        if out is not None:
            c.store(e, out, builder.add(to, k), mask)

    c.each(n, several, one)
    return c.sum_of(totals)


def _plain_exp_columns(x, at, high, total, j, out, to, n):  # type: ignore[no-untyped-def]
    for k in range(n):
        out[to + k] = math.exp(x[at + k] - high[j + k])
        total[j + k] += out[to + k]


@intrinsic
def _exp_columns(typingctx, x, at, high, total, j, out, to, n):  # type: ignore[no-untyped-def]
    """out[to + k] = exp(x[at + k] - high[j + k]), total[j + k] += that, for k < n; total is float64."""
    return types.void(x, types.intp, high, total, types.intp, out, types.intp, types.intp), _exp_columns_code


def _exp_columns_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    x, at, high, total, j, out, to, n = args

    def exp_of(c: Exponentials, x: Any, high: Any) -> Any:
        return c.exp(c.builder.fsub(x, high))

    return _accumulated(context, builder, sig.args, exp_of, ((0, x, at), (2, high, j)), (3, total, j), n, (5, out, to))


def _plain_add_products(g, y, at, total, j, n):  # type: ignore[no-untyped-def]
    for k in range(n):
        total[j + k] += g[at + k] * y[at + k]


@intrinsic
def _add_products(typingctx, g, y, at, total, j, n):  # type: ignore[no-untyped-def]
    """total[j + k] += g[at + k] y[at + k] for k < n; total is float64."""
    return types.void(g, y, types.intp, total, types.intp, types.intp), _add_products_code


def _add_products_code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    g, y, at, total, j, n = args

    def product(c: Exponentials, x: Any, y: Any) -> Any:
        return c.builder.fmul(x, y)

    return _accumulated(context, builder, sig.args, product, ((0, g, at), (1, y, at)), (3, total, j), n, None)


def _accumulated(
    context: Any, builder: ir.IRBuilder, kinds: Any, function: Any, inputs: Any, total: Any, n: Any, target: Any
) -> Any:  # fmt: skip
    """total[j + k] += function(c, inputs), which also goes to the target, if any; each is (which argument, array, place)."""
    c = Exponentials(context, builder, kinds[inputs[0][0]].dtype)
    wide = Row(context, builder, kinds[total[0]].dtype, c.lanes)
    data = [(c.array(kinds[i], array).data, at) for i, array, at in inputs]
    totals = c.array(kinds[total[0]], total[1]).data

    def one(k: Any, mask: Any) -> None:
        value = function(c, *(c.part(d, at, k, mask) for d, at in data))
        if target is not None:
            c.store(value, c.array(kinds[target[0]], target[1]).data, builder.add(target[2], k), mask)
        more = value if wide.number == c.number else builder.fpext(value, wide.vector)
        place = builder.add(total[2], k)
        wide.store(builder.fadd(wide.load(totals, place, mask), more), totals, place, mask)

    def several(k: Any) -> None:
        for v in range(GROUP):
            one(builder.add(k, c.i64(v * c.lanes)), c.everywhere)

    c.each(n, several, one)
    return context.get_dummy_value()


# ---- elementwise


def _plain_max_columns(x, at, high, j, n):  # type: ignore[no-untyped-def]
    for k in range(n):
        v, best = x[at + k], high[j + k]
        high[j + k] = v if not (v <= best) and best == best else best


@intrinsic
def _max_columns(typingctx, x, at, high, j, n):  # type: ignore[no-untyped-def]
    """high[j + k] = the larger of it and x[at + k] for k < n, NaN if one is."""

    def larger(c: Exponentials, x: Any, high: Any) -> Any:
        better = c.builder.or_(c.builder.fcmp_ordered(">", x, high), c.builder.fcmp_unordered("uno", x, x))
        return c.builder.select(better, x, high)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        x, at, high, j, n = args
        kinds = types.void(*sig.args[:4], sig.args[2], types.intp, types.intp)
        return _map_code(larger, 2)(context, builder, kinds, (x, at, high, j, high, j, n))

    return types.void(x, types.intp, high, types.intp, types.intp), codegen


def _shifted(c: Exponentials, x: Any, a: Any, b: Any) -> Any:
    return c.builder.fsub(c.builder.fsub(x, a), b)


def _plain_shift_row(x, at, out, to, n, a, b):  # type: ignore[no-untyped-def]
    for k in range(n):
        out[to + k] = (x[at + k] - a) - b


@intrinsic
def _shift_row(typingctx, x, at, out, to, n, a, b):  # type: ignore[no-untyped-def]
    """out[to + k] = (x[at + k] - a) - b for k < n."""
    return types.void(x, types.intp, out, types.intp, types.intp, x.dtype, x.dtype), _map_code(_shifted, 1)


def _plain_shift_columns(x, at, a, j, b, j_b, out, to, n):  # type: ignore[no-untyped-def]
    for k in range(n):
        out[to + k] = (x[at + k] - a[j + k]) - b[j_b + k]


@intrinsic
def _shift_columns(typingctx, x, at, a, j, b, j_b, out, to, n):  # type: ignore[no-untyped-def]
    """out[to + k] = (x[at + k] - a[j + k]) - b[j_b + k] for k < n."""
    return types.void(x, types.intp, a, types.intp, b, types.intp, out, types.intp, types.intp), _map_code(_shifted, 3)


def _scaled(c: Exponentials, x: Any, a: Any) -> Any:
    return c.builder.fmul(x, a)


def _plain_scale_row(x, at, out, to, n, a):  # type: ignore[no-untyped-def]
    for k in range(n):
        out[to + k] = x[at + k] * a


@intrinsic
def _scale_row(typingctx, x, at, out, to, n, a):  # type: ignore[no-untyped-def]
    """out[to + k] = x[at + k] a for k < n."""
    return types.void(x, types.intp, out, types.intp, types.intp, x.dtype), _map_code(_scaled, 1)


def _plain_scale_columns(x, at, a, j, out, to, n):  # type: ignore[no-untyped-def]
    for k in range(n):
        out[to + k] = x[at + k] * a[j + k]


@intrinsic
def _scale_columns(typingctx, x, at, a, j, out, to, n):  # type: ignore[no-untyped-def]
    """out[to + k] = x[at + k] a[j + k] for k < n."""
    return types.void(x, types.intp, a, types.intp, out, types.intp, types.intp), _map_code(_scaled, 2)


def _scaled_exp(c: Exponentials, x: Any, a: Any, b: Any) -> Any:
    return c.builder.fmul(c.exp(c.builder.fsub(x, a)), b)


def _plain_scaled_exp_row(x, at, out, to, n, a, b):  # type: ignore[no-untyped-def]
    for k in range(n):
        out[to + k] = x.dtype.type(math.exp(x[at + k] - a)) * b


@intrinsic
def _scaled_exp_row(typingctx, x, at, out, to, n, a, b):  # type: ignore[no-untyped-def]
    """out[to + k] = exp(x[at + k] - a) b for k < n."""
    return types.void(x, types.intp, out, types.intp, types.intp, x.dtype, x.dtype), _map_code(_scaled_exp, 1)


def _off(c: Exponentials, g: Any, y: Any, a: Any) -> Any:
    return c.builder.fmul(y, c.builder.fsub(g, a))


def _plain_off_row(g, at, y, y_at, out, to, n, a):  # type: ignore[no-untyped-def]
    for k in range(n):
        out[to + k] = y[y_at + k] * (g[at + k] - a)


@intrinsic
def _off_row(typingctx, g, at, y, y_at, out, to, n, a):  # type: ignore[no-untyped-def]
    """out[to + k] = y[y_at + k] (g[at + k] - a) for k < n."""
    return types.void(g, types.intp, y, types.intp, out, types.intp, types.intp, g.dtype), _map_code(_off, 2)


def _plain_off_columns(g, at, y, y_at, a, j, out, to, n):  # type: ignore[no-untyped-def]
    for k in range(n):
        out[to + k] = y[y_at + k] * (g[at + k] - a[j + k])


@intrinsic
def _off_columns(typingctx, g, at, y, y_at, a, j, out, to, n):  # type: ignore[no-untyped-def]
    """out[to + k] = y[y_at + k] (g[at + k] - a[j + k]) for k < n."""
    return types.void(g, types.intp, y, types.intp, a, types.intp, out, types.intp, types.intp), _map_code(_off, 3)


def _less(c: Exponentials, g: Any, y: Any, a: Any) -> Any:
    return c.builder.fsub(g, c.builder.fmul(c.exp(y), a))


def _plain_less_row(g, at, y, y_at, out, to, n, a):  # type: ignore[no-untyped-def]
    for k in range(n):
        out[to + k] = g[at + k] - math.exp(y[y_at + k]) * a


@intrinsic
def _less_row(typingctx, g, at, y, y_at, out, to, n, a):  # type: ignore[no-untyped-def]
    """out[to + k] = g[at + k] - exp(y[y_at + k]) a for k < n."""
    return types.void(g, types.intp, y, types.intp, out, types.intp, types.intp, g.dtype), _map_code(_less, 2)


def _plain_less_columns(g, at, y, y_at, a, j, out, to, n):  # type: ignore[no-untyped-def]
    for k in range(n):
        out[to + k] = g[at + k] - math.exp(y[y_at + k]) * a[j + k]


@intrinsic
def _less_columns(typingctx, g, at, y, y_at, a, j, out, to, n):  # type: ignore[no-untyped-def]
    """out[to + k] = g[at + k] - exp(y[y_at + k]) a[j + k] for k < n."""
    return types.void(g, types.intp, y, types.intp, a, types.intp, out, types.intp, types.intp), _map_code(_less, 3)


if PLAIN:
    exp_row, sum_exp_row, exp_columns = njit(_plain_exp_row), njit(_plain_sum_exp_row), njit(_plain_exp_columns)
    add_products, max_columns = njit(_plain_add_products), njit(_plain_max_columns)
    scaled_exp_row = njit(_plain_scaled_exp_row)
    shift_row, scale_row, off_row, less_row = njit(_plain_shift_row), njit(_plain_scale_row), njit(_plain_off_row), njit(_plain_less_row)
    shift_columns, scale_columns = njit(_plain_shift_columns), njit(_plain_scale_columns)
    off_columns, less_columns = njit(_plain_off_columns), njit(_plain_less_columns)
else:
    exp_row, sum_exp_row, exp_columns, add_products, max_columns = _exp_row, _sum_exp_row, _exp_columns, _add_products, _max_columns
    scaled_exp_row = _scaled_exp_row
    shift_row, scale_row, off_row, less_row = _shift_row, _scale_row, _off_row, _less_row
    shift_columns, scale_columns, off_columns, less_columns = _shift_columns, _scale_columns, _off_columns, _less_columns
