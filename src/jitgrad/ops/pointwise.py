"""Pointwise ops: arithmetic, exp log sqrt tanh, comparisons, where. Operands broadcast and promote as in PyTorch."""

from __future__ import annotations

from typing import Any

from jitgrad import kernels
from jitgrad.autograd import ADD, Primitive, Tensor, broadcasting, scalar
from jitgrad.errors import DTypeError, InputTypeError
from jitgrad.ops._operands import broadcasting3, common_dtype, comparing, floating, operand, operands, pointwise_float, pointwise_number
from jitgrad.shapes import broadcast_shapes


# ---- arithmetic
def _add_promoted(a: Tensor, b: Tensor) -> Tensor:
    return ADD.apply(*operands("add", a, b))


ADD.promote = _add_promoted
MUL: Primitive = Primitive(
    "mul", "a b", broadcasting("mul"), promote=lambda a, b: MUL.apply(*operands("mul", a, b)), broadcasts=True,
    grad_a=lambda g, b: MUL.apply(g, b), grad_b=lambda g, a: MUL.apply(g, a),
)  # fmt: skip
SUB: Primitive = Primitive(
    "sub", "a b", broadcasting("sub"), promote=lambda a, b: sub(*operands("sub", a, b)), broadcasts=True,
    grad_a=lambda g: g, grad_b=lambda g: neg(g),
)  # fmt: skip
DIV: Primitive = Primitive(
    "div", "a b", broadcasting("div"), broadcasts=True,
    grad_a=lambda g, b: DIV.apply(g, b), grad_b=lambda g, a, b: DIV_GRAD_B.apply(g, a, b),
)  # fmt: skip
# -g a / b^2
DIV_GRAD_B: Primitive = Primitive(
    "div_grad_b", "g a b", broadcasting3, broadcasts=True,
    grad_g=lambda u, a, b: DIV_GRAD_B.apply(u, a, b), grad_a=lambda u, g, b: DIV_GRAD_B.apply(u, g, b),
    grad_b=lambda u, g, a, b: mul(DIV.apply(DIV_GRAD_B.apply(MUL.apply(u, g), a, b), b), -2),
)  # fmt: skip
NEG: Primitive = Primitive("neg", "x", pointwise_number("neg"), grad_x=lambda g: neg(g))


def _pow_check(a: Any, b: Any) -> None:
    if kernels.of(b).first_outside(b, 0, 2**63 - 1) >= 0:
        raise DTypeError("pow: ints to negative int powers are not ints. Try x.float() ** exponent.")


INTEGER_POW: Primitive = Primitive("integer_pow", "a b", broadcasting("pow"), kernel="pow", check=_pow_check)
POW: Primitive = Primitive(
    "pow", "a b", broadcasting("pow"), broadcasts=True,
    grad_a=lambda g, a, b: POW_GRAD_A.apply(g, a, b), grad_b=lambda g, a, y: POW_GRAD_B.apply(g, a, y),
)  # fmt: skip


# d/da a**b = b a**(b-1), 0 where b is 0. Its own rules follow from the formula.
POW_GRAD_A: Primitive = Primitive(
    "pow_grad_a", "g a b", broadcasting3, broadcasts=True,
    grad_g=lambda u, a, b: POW_GRAD_A.apply(u, a, b),
    grad_a=lambda u, g, a, b: MUL.apply(MUL.apply(u, g), MUL.apply(b, POW_GRAD_A.apply(_ones(u), a, sub(b, 1)))),
    grad_b=lambda u, g, a, b: _pow_grad_a_grad_b(MUL.apply(u, g), a, b),
)  # fmt: skip
# d/db a**b = a**b log(a), 0 where a and the power are 0.
POW_GRAD_B: Primitive = Primitive(
    "pow_grad_b", "g a y", broadcasting3, broadcasts=True,
    grad_g=lambda u, a, y: POW_GRAD_B.apply(u, a, y),
    grad_a=lambda u, g, a, y: DIV.apply(MUL.apply(MUL.apply(u, g), y), a),
    grad_y=lambda u, g, a: MUL.apply(MUL.apply(u, g), where(eq(a, 0), scalar(0, a.array.dtype, a), log(a))),
)  # fmt: skip


def _ones(x: Tensor) -> Tensor:
    return scalar(1, x.array.dtype, x)


def _pow_grad_a_grad_b(g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    # d/db (b a**(b-1)) = a**(b-1) (1 + b log a)
    power = POW.apply(a, sub(b, 1))
    return MUL.apply(g, add(power, MUL.apply(b, POW_GRAD_B.apply(_ones(g), a, power))))


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input + alpha * other``, elementwise.

    Gradient: g to input, alpha g to other, each summed over the dims it was broadcast along.

    >>> import jitgrad as jg
    >>> jg.add(jg.tensor([1.0, 2.0]), 10).tolist()
    [11.0, 12.0]
    """
    if alpha != 1:
        other = mul(other, alpha) if isinstance(other, Tensor) else other * alpha
    if not (isinstance(input, Tensor) and isinstance(other, Tensor)):  # the door promotes Tensors of different dtypes
        input, other = operands("add", input, other)
    return ADD.apply(input, other)


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input - alpha * other``, elementwise; bools are refused.

    Gradient: g to input, -alpha g to other.

    >>> import jitgrad as jg
    >>> jg.sub(jg.tensor([1.0, 2.0]), 1).tolist()
    [0.0, 1.0]
    """
    if alpha != 1:
        other = mul(other, alpha) if isinstance(other, Tensor) else other * alpha
    if not (isinstance(input, Tensor) and isinstance(other, Tensor)):
        input, other = operands("sub", input, other)
    if input.array.dtype.char == "?":
        raise DTypeError("sub: bool tensors are not supported. Try x.to(jg.int64), or jg.ne(a, b) for a difference of truths.")
    return SUB.apply(input, other)


def mul(input: Any, other: Any) -> Tensor:
    """``input * other``, elementwise.

    Gradient: g other to input, g input to other.

    >>> import jitgrad as jg
    >>> jg.mul(jg.tensor([1.0, 2.0]), jg.tensor([3.0, 4.0])).tolist()
    [3.0, 8.0]
    """
    if not (isinstance(input, Tensor) and isinstance(other, Tensor)):  # the door promotes Tensors of different dtypes
        input, other = operands("mul", input, other)
    return MUL.apply(input, other)


def div(input: Any, other: Any) -> Tensor:
    """``input / other``, elementwise true division; ints become float32, bools too. Division by zero gives inf or nan.

    Gradient: g / other to input, -g y / other to other.

    >>> import jitgrad as jg
    >>> jg.div(jg.tensor([1, 2]), 2).tolist()
    [0.5, 1.0]
    """
    input, other = operands("div", input, other, floating=True)
    return DIV.apply(input, other)


def neg(input: Tensor) -> Tensor:
    """``-input``, elementwise; bools are refused.

    Gradient: -g.

    >>> import jitgrad as jg
    >>> jg.neg(jg.tensor([1.0, -2.0])).tolist()
    [-1.0, 2.0]
    """
    return NEG.apply(input)


def pow(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent``, elementwise.

    Gradient: g b a^(b-1) to input (0 where b is 0), g y log(a) to exponent (0 where a is 0 and b >= 0).
    Raises DTypeError for ints to a negative int power.

    >>> import jitgrad as jg
    >>> x = jg.tensor([2.0, 3.0], requires_grad=True)
    >>> jg.pow(x, 2).sum().backward()
    >>> x.grad.tolist()
    [4.0, 6.0]
    """
    a, b = operands("pow", input, exponent)
    return INTEGER_POW.apply(a, b) if a.array.dtype.kind == "i" else POW.apply(a, b)


# ---- elementary functions
EXP: Primitive = Primitive("exp", "x", pointwise_float("exp"), promote=lambda x: exp(floating(x)), grad_x=lambda g, y: MUL.apply(g, y))
LOG: Primitive = Primitive("log", "x", pointwise_float("log"), promote=lambda x: log(floating(x)), grad_x=lambda g, x: DIV.apply(g, x))
SQRT: Primitive = Primitive(
    "sqrt", "x", pointwise_float("sqrt"), promote=lambda x: sqrt(floating(x)), grad_x=lambda g, y: SQRT_GRAD.apply(g, y)
)
SQRT_GRAD: Primitive = Primitive(
    "sqrt_grad", "g y", broadcasting("sqrt_grad"),
    grad_g=lambda u, y: SQRT_GRAD.apply(u, y), grad_y=lambda u, g, y: neg(DIV.apply(SQRT_GRAD.apply(MUL.apply(u, g), y), y)),
)  # fmt: skip
TANH: Primitive = Primitive(
    "tanh", "x", pointwise_float("tanh"), promote=lambda x: tanh(floating(x)), grad_x=lambda g, y: TANH_GRAD.apply(g, y)
)
TANH_GRAD: Primitive = Primitive(
    "tanh_grad", "g y", broadcasting("tanh_grad"),
    grad_g=lambda u, y: TANH_GRAD.apply(u, y), grad_y=lambda u, g, y: mul(MUL.apply(MUL.apply(u, g), y), -2),
)  # fmt: skip


def exp(input: Tensor) -> Tensor:
    """``e^x``, elementwise; ints become float32.

    Gradient: g y.

    >>> import jitgrad as jg
    >>> jg.exp(jg.tensor([0.0])).tolist()
    [1.0]
    """
    return EXP.apply(input)


def log(input: Tensor) -> Tensor:
    """Natural logarithm, elementwise; -inf at 0, nan below.

    Gradient: g / x.

    >>> import jitgrad as jg
    >>> jg.log(jg.tensor([1.0])).tolist()
    [0.0]
    """
    return LOG.apply(input)


def sqrt(input: Tensor) -> Tensor:
    """Square root, elementwise; nan below 0.

    Gradient: g / (2 y).

    >>> import jitgrad as jg
    >>> jg.sqrt(jg.tensor([4.0])).tolist()
    [2.0]
    """
    return SQRT.apply(input)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent, elementwise.

    Gradient: g (1 - y^2).

    >>> import jitgrad as jg
    >>> jg.tanh(jg.tensor([0.0])).tolist()
    [0.0]
    """
    return TANH.apply(input)


# ---- comparisons
EQ, NE, LT, LE, GT, GE = (Primitive(n, "a b", comparing(n)) for n in ("eq", "ne", "lt", "le", "gt", "ge"))


def eq(input: Any, other: Any) -> Tensor:
    """``input == other``, elementwise, as bools. No gradient.

    >>> import jitgrad as jg
    >>> jg.eq(jg.tensor([1, 2]), 2).tolist()
    [False, True]
    """
    return EQ.apply(*operands("eq", input, other))


def ne(input: Any, other: Any) -> Tensor:
    """``input != other``, elementwise, as bools. No gradient.

    >>> import jitgrad as jg
    >>> jg.ne(jg.tensor([1, 2]), 2).tolist()
    [True, False]
    """
    return NE.apply(*operands("ne", input, other))


def lt(input: Any, other: Any) -> Tensor:
    """``input < other``, elementwise, as bools. No gradient.

    >>> import jitgrad as jg
    >>> jg.lt(jg.tensor([1, 2]), 2).tolist()
    [True, False]
    """
    return LT.apply(*operands("lt", input, other))


def le(input: Any, other: Any) -> Tensor:
    """``input <= other``, elementwise, as bools. No gradient.

    >>> import jitgrad as jg
    >>> jg.le(jg.tensor([1, 3]), 2).tolist()
    [True, False]
    """
    return LE.apply(*operands("le", input, other))


def gt(input: Any, other: Any) -> Tensor:
    """``input > other``, elementwise, as bools. No gradient.

    >>> import jitgrad as jg
    >>> jg.gt(jg.tensor([1, 3]), 2).tolist()
    [False, True]
    """
    return GT.apply(*operands("gt", input, other))


def ge(input: Any, other: Any) -> Tensor:
    """``input >= other``, elementwise, as bools. No gradient.

    >>> import jitgrad as jg
    >>> jg.ge(jg.tensor([1, 2]), 2).tolist()
    [False, True]
    """
    return GE.apply(*operands("ge", input, other))


# ---- where
def _where_infer(condition: Any, a: Any, b: Any) -> tuple[Any, Any]:
    if condition.dtype.char != "?":
        raise DTypeError(f"where: expected a bool condition, given {condition.dtype}. Try x != 0.")
    if a.dtype != b.dtype:
        raise DTypeError(f"where: expected equal dtypes, given {a.dtype} and {b.dtype}.")
    return broadcast_shapes(condition.shape, a.shape, b.shape), a.dtype


WHERE: Primitive = Primitive(
    "where", "condition a b", _where_infer, broadcasts=True,
    grad_a=lambda g, condition: WHERE.apply(condition, g, scalar(0, g.array.dtype, g)),
    grad_b=lambda g, condition: WHERE.apply(condition, scalar(0, g.array.dtype, g), g),
)  # fmt: skip


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """``input`` where condition is true, else ``other``.

    Gradient: g where condition is true to input, the rest to other.

    >>> import jitgrad as jg
    >>> jg.where(jg.tensor([True, False]), jg.tensor([1.0, 2.0]), 0.0).tolist()
    [1.0, 0.0]
    """
    if not isinstance(condition, Tensor):
        raise InputTypeError(f"where: expected a bool Tensor as condition, given {type(condition).__name__}.")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        dtype = common_dtype("where", input, other)
        a, b = operand(input, dtype, condition), operand(other, dtype, condition)
    else:
        a, b = operands("where", input, other)
    return WHERE.apply(condition, a, b)
