"""Elementary functions beyond exp, log, sqrt and tanh; rounding, bounds, and questions that are answered with bools."""

from __future__ import annotations

import builtins
from typing import Any

from jitgrad import dtypes
from jitgrad.autograd import Primitive, Tensor, broadcasting, cast, clone, filled
from jitgrad.errors import ArgumentError
from jitgrad.ops._operands import broadcasting3, checked, floating, operands, pointwise_float, pointwise_number
from jitgrad.ops.pointwise import DIV, MUL, add, div, eq, ge, gt, le, lt, mul, ne, neg, sub, where


def _zero(g: Tensor) -> Tensor:
    return filled(g.array.shape, 0, g)


# ---- smooth functions
SIN: Primitive = Primitive(
    "sin", "x", pointwise_float("sin"), promote=lambda x: sin(floating(x)), grad_x=lambda g, x: MUL.apply(g, COS.apply(x))
)
COS: Primitive = Primitive(
    "cos", "x", pointwise_float("cos"), promote=lambda x: cos(floating(x)), grad_x=lambda g, x: neg(MUL.apply(g, SIN.apply(x)))
)
ERF: Primitive = Primitive("erf", "x", pointwise_float("erf"), promote=lambda x: erf(floating(x)), grad_x=lambda g, x: ERF_GRAD.apply(g, x))
# g 2 / sqrt(pi) e^(-x^2)
ERF_GRAD: Primitive = Primitive(
    "erf_grad", "g x", broadcasting("erf_grad"),
    grad_g=lambda u, x: ERF_GRAD.apply(u, x), grad_x=lambda u, g, x: mul(ERF_GRAD.apply(MUL.apply(MUL.apply(u, g), x), x), -2),
)  # fmt: skip
LOG1P: Primitive = Primitive(
    "log1p", "x", pointwise_float("log1p"), promote=lambda x: log1p(floating(x)), grad_x=lambda g, x: DIV.apply(g, add(x, 1))
)
EXPM1: Primitive = Primitive(
    "expm1", "x", pointwise_float("expm1"), promote=lambda x: expm1(floating(x)), grad_x=lambda g, y: MUL.apply(g, add(y, 1))
)
RSQRT: Primitive = Primitive(
    "rsqrt", "x", pointwise_float("rsqrt"), promote=lambda x: rsqrt(floating(x)),
    grad_x=lambda g, y: mul(MUL.apply(g, MUL.apply(y, MUL.apply(y, y))), -0.5),
)  # fmt: skip


def sin(input: Tensor) -> Tensor:
    """Sine of radians, elementwise; ints become float32.

    Gradient: g cos(x).

    >>> import jitgrad as jg
    >>> jg.sin(jg.tensor([0.0])).tolist()
    [0.0]
    """
    return SIN.apply(input)


def cos(input: Tensor) -> Tensor:
    """Cosine of radians, elementwise; ints become float32.

    Gradient: -g sin(x).

    >>> import jitgrad as jg
    >>> jg.cos(jg.tensor([0.0])).tolist()
    [1.0]
    """
    return COS.apply(input)


def erf(input: Tensor) -> Tensor:
    """``2 / sqrt(pi)`` times the integral of ``e^(-t^2)`` from 0 to x, elementwise; ints become float32.

    Gradient: 2 g / sqrt(pi) e^(-x^2).

    >>> import jitgrad as jg
    >>> jg.erf(jg.tensor([0.0])).tolist()
    [0.0]
    """
    return ERF.apply(input)


def log1p(input: Tensor) -> Tensor:
    """``log(1 + x)``, elementwise, exact also for small x; -inf at -1, nan below.

    Gradient: g / (1 + x).

    >>> import jitgrad as jg
    >>> jg.log1p(jg.tensor([0.0])).tolist()
    [0.0]
    """
    return LOG1P.apply(input)


def expm1(input: Tensor) -> Tensor:
    """``e^x - 1``, elementwise, exact also for small x.

    Gradient: g (y + 1).

    >>> import jitgrad as jg
    >>> jg.expm1(jg.tensor([0.0])).tolist()
    [0.0]
    """
    return EXPM1.apply(input)


def rsqrt(input: Tensor) -> Tensor:
    """``1 / sqrt(x)``, elementwise; inf at 0, nan below.

    Gradient: -g y^3 / 2.

    >>> import jitgrad as jg
    >>> jg.rsqrt(jg.tensor([4.0])).tolist()
    [0.5]
    """
    return RSQRT.apply(input)


def reciprocal(input: Tensor) -> Tensor:
    """``1 / x``, elementwise; ints become float32.

    Gradient: -g y^2.

    >>> import jitgrad as jg
    >>> jg.reciprocal(jg.tensor([4.0])).tolist()
    [0.25]
    """
    return div(1.0, checked("reciprocal", input))


def square(input: Tensor) -> Tensor:
    """``x^2``, elementwise; bools become int64.

    Gradient: 2 g x.

    >>> import jitgrad as jg
    >>> jg.square(jg.tensor([3.0])).tolist()
    [9.0]
    """
    x = checked("square", input)
    x = cast(x, dtypes.int64.numpy) if x.array.dtype.char == "?" else x
    return mul(x, x)


# ---- pieces: |x|, sign, rounding
ABS: Primitive = Primitive("abs", "x", pointwise_number("abs"), grad_x=lambda g, x: MUL.apply(g, SIGN.apply(x)))
SIGN: Primitive = Primitive("sign", "x", pointwise_number("sign"), grad_x=_zero)
FLOOR, CEIL, ROUND = (Primitive(n, "x", pointwise_float(n), grad_x=_zero) for n in ("floor", "ceil", "round"))


def _whole(prim: Primitive, input: Tensor) -> Tensor:
    """prim of floats; ints are whole as they are."""
    x = checked(prim.name, input)
    return clone(x) if x.array.dtype.kind in "iu" else prim.apply(x)


def abs(input: Tensor) -> Tensor:
    """``|x|``, elementwise; bools are refused.

    Gradient: g sign(x), 0 at 0.

    >>> import jitgrad as jg
    >>> jg.abs(jg.tensor([-2.0, 1.0])).tolist()
    [2.0, 1.0]
    """
    return ABS.apply(input)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1 with the sign of x, elementwise; NaN stays NaN, bools are refused. Gradient: 0.

    >>> import jitgrad as jg
    >>> jg.sign(jg.tensor([-2.0, 0.0, 3.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return SIGN.apply(input)


def floor(input: Tensor) -> Tensor:
    """The largest whole number not above x, elementwise; ints stay as they are. Gradient: 0.

    >>> import jitgrad as jg
    >>> jg.floor(jg.tensor([-1.5, 1.5])).tolist()
    [-2.0, 1.0]
    """
    return _whole(FLOOR, input)


def ceil(input: Tensor) -> Tensor:
    """The smallest whole number not below x, elementwise; ints stay as they are. Gradient: 0.

    >>> import jitgrad as jg
    >>> jg.ceil(jg.tensor([-1.5, 1.5])).tolist()
    [-1.0, 2.0]
    """
    return _whole(CEIL, input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest whole number, of two the even one; or the nearest multiple of ``10^-decimals``. Gradient: 0.

    >>> import jitgrad as jg
    >>> jg.round(jg.tensor([0.5, 1.5, 2.4])).tolist()
    [0.0, 2.0, 2.0]
    """
    if not decimals:
        return _whole(ROUND, input)
    unit = 10.0 ** builtins.abs(decimals)
    return div(ROUND.apply(mul(input, unit)), unit) if decimals > 0 else mul(ROUND.apply(div(input, unit)), unit)


# ---- bounds. A gradient goes to the operand that was taken.
MAXIMUM: Primitive = Primitive(
    "maximum", "a b", broadcasting("maximum"), broadcasts=True,
    grad_a=lambda g, a, b: MAXIMUM_GRAD.apply(g, a, b), grad_b=lambda g, a, b: MAXIMUM_GRAD.apply(g, b, a),
)  # fmt: skip
MINIMUM: Primitive = Primitive(
    "minimum", "a b", broadcasting("minimum"), broadcasts=True,
    grad_a=lambda g, a, b: MINIMUM_GRAD.apply(g, a, b), grad_b=lambda g, a, b: MINIMUM_GRAD.apply(g, b, a),
)  # fmt: skip
# g where a was taken, half of it at a tie.
MAXIMUM_GRAD: Primitive = Primitive(
    "maximum_grad", "g a b", broadcasting3, broadcasts=True, grad_g=lambda u, a, b: MAXIMUM_GRAD.apply(u, a, b)
)
MINIMUM_GRAD: Primitive = Primitive(
    "minimum_grad", "g a b", broadcasting3, broadcasts=True, grad_g=lambda u, a, b: MINIMUM_GRAD.apply(u, a, b)
)
# The same kernels, but at a tie the whole gradient goes to x.
CLAMP_MIN: Primitive = Primitive(
    "clamp_min", "x low", broadcasting("clamp"), kernel="maximum", broadcasts=True,
    grad_x=lambda g, x, low: where(ge(x, low), g, 0), grad_low=lambda g, x, low: where(lt(x, low), g, 0),
)  # fmt: skip
CLAMP_MAX: Primitive = Primitive(
    "clamp_max", "x high", broadcasting("clamp"), kernel="minimum", broadcasts=True,
    grad_x=lambda g, x, high: where(le(x, high), g, 0), grad_high=lambda g, x, high: where(gt(x, high), g, 0),
)  # fmt: skip


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, elementwise; NaN wins.

    Gradient: g to the larger, half of it to each at a tie.

    >>> import jitgrad as jg
    >>> jg.maximum(jg.tensor([1.0, 4.0]), jg.tensor([3.0, 2.0])).tolist()
    [3.0, 4.0]
    """
    return MAXIMUM.apply(*operands("maximum", checked("maximum", input), checked("maximum", other)))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, elementwise; NaN wins.

    Gradient: g to the smaller, half of it to each at a tie.

    >>> import jitgrad as jg
    >>> jg.minimum(jg.tensor([1.0, 4.0]), jg.tensor([3.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    return MINIMUM.apply(*operands("minimum", checked("minimum", input), checked("minimum", other)))


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """``min`` where x is below it, ``max`` where x is above it, else x; numbers or Tensors, max where they contradict each other.

    Gradient: g to x where min <= x <= max, else to the bound that was taken. NaN stays NaN.
    Raises ArgumentError where there is neither min nor max.

    >>> import jitgrad as jg
    >>> x = jg.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    >>> y = jg.clamp(x, 0, 1)
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.0, 0.5, 1.0], [0.0, 1.0, 0.0])
    """
    x = checked("clamp", input)
    if min is None and max is None:
        raise ArgumentError("clamp: expected min, max or both.")
    if min is not None:
        x = CLAMP_MIN.apply(*operands("clamp", x, min))
    return x if max is None else CLAMP_MAX.apply(*operands("clamp", x, max))


# ---- questions, answered with bools; no gradients
def isnan(input: Tensor) -> Tensor:
    """Whether x is NaN, elementwise.

    >>> import jitgrad as jg
    >>> jg.isnan(jg.tensor([1.0, float("nan")])).tolist()
    [False, True]
    """
    return ne(checked("isnan", input), input)


def isinf(input: Tensor) -> Tensor:
    """Whether x is infinity or -infinity, elementwise.

    >>> import jitgrad as jg
    >>> jg.isinf(jg.tensor([1.0, -float("inf"), float("nan")])).tolist()
    [False, True, False]
    """
    x = checked("isinf", input)
    return eq(ABS.apply(x), float("inf")) if x.is_floating_point() else ne(x, x)


def isfinite(input: Tensor) -> Tensor:
    """Whether x is neither infinite nor NaN, elementwise.

    >>> import jitgrad as jg
    >>> jg.isfinite(jg.tensor([1.0, -float("inf"), float("nan")])).tolist()
    [True, False, False]
    """
    x = checked("isfinite", input)
    return eq(sub(x, x), 0) if x.is_floating_point() else eq(x, x)


def _truth(name: str, x: Any) -> Tensor:
    t = checked(name, x)
    return t if t.array.dtype.char == "?" else ne(t, 0)


def logical_not(input: Tensor) -> Tensor:
    """Whether x is 0 or False, elementwise.

    >>> import jitgrad as jg
    >>> jg.logical_not(jg.tensor([0, 2])).tolist()
    [True, False]
    """
    return eq(_truth("logical_not", input), False)


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Whether neither is 0 or False, elementwise.

    >>> import jitgrad as jg
    >>> jg.logical_and(jg.tensor([0, 2]), jg.tensor([1, 1])).tolist()
    [False, True]
    """
    return mul(_truth("logical_and", input), _truth("logical_and", other))


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Whether one or both are neither 0 nor False, elementwise.

    >>> import jitgrad as jg
    >>> jg.logical_or(jg.tensor([0, 2]), jg.tensor([0, 0])).tolist()
    [False, True]
    """
    return add(_truth("logical_or", input), _truth("logical_or", other))
