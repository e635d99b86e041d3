"""Scalar formulas and their derivatives, written once for the CPU and for CUDA.

Each formula under `@pointwise` becomes a kernel of the same name in `kernels.cpu.pointwise` and
`kernels.cuda.pointwise`; nothing else has to be written. The text says which dtypes go in and what comes out:

    f  floats (float32, float64)      b  bool
    i  integers                       n  floats and integers        a  any of these

Inputs share one dtype, except those marked b where others are not; the result has it too, or is bool where it is
marked b.

Formulas compute in the dtype of their input, so constants go through `like(x, 0.5)`: a plain 0.5 is a float64, and
would take float32 along. `BASE` lists the functions that each backend brings in its own form; those here are plain
Python and say what the others must do, also for NaN and infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

BASE = ("exp", "log", "sqrt", "tanh", "erf", "normal_cdf", "sin", "cos", "floor", "fabs", "power")
FLOATS = ("float32", "float64")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
KINDS = {"f": FLOATS, "i": INTEGERS, "b": ("bool",), "n": FLOATS + INTEGERS, "a": (*FLOATS, *INTEGERS, "bool")}


class Form(NamedTuple):
    """One formula of an op: for which dtypes it is meant."""

    formula: str
    inputs: tuple[str, ...]  # kinds
    output: str
    dtypes: tuple[str, ...]  # of the inputs that share one


class Pointwise(NamedTuple):
    """An op: its parameters and its formulas by dtype."""

    name: str
    parameters: tuple[str, ...]
    doc: str
    forms: list[Form]


TABLE: dict[str, Pointwise] = {}

# Formulas that take the place of another where its last operand is one number for all elements. Those on the CPU are enough: a card
# waits for memory.
SPECIAL = {
    "pow": {2.0: "pow_2", 3.0: "pow_3", 0.5: "sqrt", -1.0: "pow_minus_1"},
    "pow_grad_a": {2.0: "pow_2_grad", 3.0: "pow_3_grad", 0.5: "pow_half_grad", -1.0: "pow_minus_1_grad"},
}


def pointwise(kinds: str, name: str | None = None) -> Callable[[FunctionType], FunctionType]:
    """Makes a formula a pointwise kernel; a second formula for other dtypes gives the `name` of the first."""

    def enter(formula: FunctionType) -> FunctionType:
        left, right = kinds.split("->")
        inputs, output = tuple(left.split()), right.strip()
        shared = next((kind for kind in inputs if kind != "b"), "b")
        op = name or formula.__name__
        code = formula.__code__
        entry = TABLE.setdefault(op, Pointwise(op, code.co_varnames[: code.co_argcount], (formula.__doc__ or "").strip(), []))
        entry.forms.append(Form(formula.__name__, inputs, output, KINDS[shared]))
        return formula

    return enter


def named(launcher: Any, entry: Pointwise) -> Any:
    """The launcher under its op's name, with the parameters and the docstring of the formula."""
    code = launcher.__code__
    names = entry.parameters + code.co_varnames[len(entry.parameters) :]
    launcher.__code__ = code.replace(co_varnames=names, co_name=entry.name)
    launcher.__name__ = launcher.__qualname__ = entry.name
    launcher.__doc__ = entry.doc
    kind = launcher.__annotations__["return"]
    launcher.__annotations__ = dict.fromkeys((*entry.parameters, "return"), kind)
    return launcher


def bind(target: dict[str, Any], base: ModuleType, compile: Callable[[FunctionType], Any]) -> None:
    """Puts all formulas, compiled for a backend and calling its base functions, into the namespace of a module."""
    for name, value in list(globals().items()):
        if name in BASE:
            target[name] = getattr(base, name)
        elif isinstance(value, FunctionType) and name not in ("pointwise", "bind", "named"):
            copy = FunctionType(value.__code__, target, name)
            copy.__doc__ = value.__doc__
            target[name] = compile(copy)
        else:
            target.setdefault(name, value)  # modules and constants that formulas use


def like(x, value):
    """value in the dtype of x"""
    return type(x)(value)


# Base functions


@pointwise("f -> f")
def exp(x):
    """y = e^x"""
    try:
        return like(x, math.exp(x))
    except OverflowError:
        return like(x, math.inf)


@pointwise("f -> f")
def log(x):
    """y = ln x"""
    if x > 0:
        return like(x, math.log(x))
    return like(x, -math.inf if x == 0 else math.nan)


@pointwise("f -> f")
def sqrt(x):
    """y = x^(1/2)"""
    return like(x, math.sqrt(x) if x >= 0 else math.nan)


@pointwise("f -> f")
def tanh(x):
    """y = tanh x"""
    return like(x, math.tanh(x))


@pointwise("f -> f")
def erf(x):
    """y = 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x"""
    return like(x, math.erf(x))


def normal_cdf(x):
    """The probability of a number below x"""
    return like(x, math.erfc(-x * math.sqrt(0.5)) / 2)


@pointwise("f -> f")
def sin(x):
    """y = sin x; NaN at infinity"""
    return like(x, math.sin(x) if x - x == 0 else math.nan)


@pointwise("f -> f")
def cos(x):
    """y = cos x; NaN at infinity"""
    return like(x, math.cos(x) if x - x == 0 else math.nan)


@pointwise("f -> f")
def floor(x):
    """y = the largest whole number that is not above x"""
    return like(x, math.floor(x)) if x - x == 0 and x != 0 else x


def fabs(x):
    return like(x, math.fabs(x))


def power(a, b):
    try:
        return like(a, math.pow(a, b))
    except OverflowError:
        return like(a, -math.inf if a < 0 and b % 2 == 1 else math.inf)
    except ValueError:  # a negative base with a fraction, or zero with a negative exponent
        if a != 0:
            return like(a, math.nan)
        return like(a, math.copysign(math.inf, a) if b % 2 == 1 else math.inf)


@pointwise("f f -> f")
def erf_grad(g, x):
    """gx = g 2 / sqrt(pi) e^(-x^2)"""
    return g * (like(x, 2 / math.sqrt(math.pi)) * exp(-x * x))


@pointwise("f f -> f")
def sqrt_grad(g, y):
    """gx = g / (2 y)"""
    return g / (y + y)


# Elementary functions


@pointwise("f -> f")
def log1p(x):
    """y = ln(1 + x), exact for small x"""
    # Kahan's correction for what 1 + x rounds away
    u = like(x, 1) + x
    return x if u == 1 or u == math.inf else log(u) * (x / (u - like(x, 1)))


@pointwise("f -> f")
def expm1(x):
    """y = e^x - 1, exact for small x"""
    # (e^x + 1) tanh(x / 2): the difference would lose the digits of a small x.
    return (exp(x) + like(x, 1)) * tanh(like(x, 0.5) * x)


@pointwise("f -> f")
def rsqrt(x):
    """y = x^(-1/2)"""
    return like(x, 1) / sqrt(x)


@pointwise("f -> f")
def ceil(x):
    """y = the smallest whole number that is not below x"""
    return -floor(-x)


@pointwise("f -> f")
def round(x):
    """y = the nearest whole number, the even one of two"""
    low = floor(x)
    over = x - low
    even = like(x, 2) * floor(like(x, 0.5) * low + like(x, 0.5))
    return low + like(x, 1) if over > 0.5 else even if over == 0.5 else low


@pointwise("f -> f")
def abs(x):
    """y = |x|"""
    return fabs(x)


@pointwise("i -> i", name="abs")
def integer_abs(x):
    """y = |x|; the smallest int stays as it is"""
    return x if x > 0 else like(x, like(x, 0) - x)


@pointwise("n -> n")
def sign(x):
    """y = 1 where x > 0, -1 where x < 0, else x: 0 and NaN"""
    return like(x, 1) if x > 0 else like(x, -1) if x < 0 else x


# Arithmetic


@pointwise("n -> n")
def neg(x):
    """y = -x"""
    return -x


@pointwise("a a -> a")
def add(a, b):
    """y = a + b; or on bools"""
    return a + b


@pointwise("n n -> n")
def sub(a, b):
    """y = a - b"""
    return a - b


@pointwise("a a -> a")
def mul(a, b):
    """y = a * b; and on bools"""
    return a * b


@pointwise("f f -> f")
def div(a, b):
    """y = a / b"""
    return a / b


@pointwise("f f f -> f")
def div_grad_b(g, a, b):
    """gb = -g a / b^2"""
    return -(g * (a / b / b))


@pointwise("f f -> f")
def pow(a, b):
    """y = a^b"""
    return a * a if b == 2 else power(a, b)


@pointwise("i i -> i", name="pow")
def integer_pow(a, b):
    """y = a^b for b >= 0, by repeated squaring"""
    y = like(a, 1)
    while b > 0:
        if b & 1:
            y = like(a, y * a)
        a = like(a, a * a)
        b = b >> 1
    return y


def pow_2(a):
    return a * a


def pow_3(a):
    return a * a * a


def pow_minus_1(a):
    return like(a, 1) / a


def pow_2_grad(g, a):
    return g * (a + a)


def pow_3_grad(g, a):
    return g * (like(a, 3) * (a * a))


def pow_half_grad(g, a):
    return g * (like(a, 0.5) / sqrt(a))


def pow_minus_1_grad(g, a):
    return g * (like(a, -1) / (a * a))


@pointwise("f f f -> f")
def pow_grad_a(g, a, b):
    """ga = g b a^(b-1), 0 where b = 0"""
    if b == 0:
        return like(g, 0)
    return g * (b * pow(a, b - like(b, 1)))


@pointwise("f f f -> f")
def pow_grad_b(g, a, y):
    """gb = g y ln a, 0 where a = 0 and y = a^b is finite"""
    if a == 0 and y <= 1:
        return like(g, 0)
    return g * (y * log(a))


# Comparisons


@pointwise("a a -> b")
def eq(a, b):
    """y = (a = b)"""
    return a == b


@pointwise("a a -> b")
def ne(a, b):
    """y = (a != b)"""
    return a != b


@pointwise("a a -> b")
def lt(a, b):
    """y = (a < b)"""
    return a < b


@pointwise("a a -> b")
def le(a, b):
    """y = (a <= b)"""
    return a <= b


@pointwise("a a -> b")
def gt(a, b):
    """y = (a > b)"""
    return a > b


@pointwise("a a -> b")
def ge(a, b):
    """y = (a >= b)"""
    return a >= b


@pointwise("a a -> a")
def maximum(a, b):
    """y = the larger of a and b; NaN wins"""
    return a if a > b or a != a else b


@pointwise("a a -> a")
def minimum(a, b):
    """y = the smaller of a and b; NaN wins"""
    return a if a < b or a != a else b


@pointwise("f f f -> f")
def maximum_grad(g, a, b):
    """ga = g where a > b, half of it where a = b, 0 where a < b"""
    return like(g, 0) if a < b else like(g, 0.5) * g if a == b else g


@pointwise("f f f -> f")
def minimum_grad(g, a, b):
    """ga = g where a < b, half of it where a = b, 0 where a > b"""
    return like(g, 0) if a > b else like(g, 0.5) * g if a == b else g


@pointwise("b a a -> a")
def where(c, a, b):
    """y = a if c else b"""
    return a if c else b


# Activations


@pointwise("n -> n")
def relu(x):
    """y = max(x, 0); NaN stays NaN"""
    return like(x, 0) if x <= 0 else x


@pointwise("f f -> f")
def relu_grad(g, y):
    """gx = 0 where y <= 0, else g"""
    return like(g, 0) if y <= 0 else g


@pointwise("f f -> f")
def tanh_grad(g, y):
    """gx = g (1 - y^2)"""
    return g * (like(y, 1) - y * y)


@pointwise("f -> f")
def gelu(x):
    """y = x Phi(x), Phi the normal distribution function"""
    return x * normal_cdf(x)


@pointwise("f f -> f")
def gelu_grad(g, x):
    """gx = g (Phi(x) + x phi(x)), phi the normal density"""
    density = like(x, 1 / math.sqrt(2 * math.pi)) * exp(like(x, -0.5) * x * x)
    return g * (normal_cdf(x) + x * density)


@pointwise("f -> f")
def gelu_tanh(x):
    """y = x / 2 (1 + tanh(c (x + 0.044715 x^3))), c = sqrt(2 / pi)"""
    inner = like(x, math.sqrt(2 / math.pi)) * (x + like(x, 0.044715) * x * x * x)
    return like(x, 0.5) * x * (like(x, 1) + tanh(inner))


@pointwise("f f -> f")
def gelu_tanh_grad(g, x):
    """gx = g ((1 + t) / 2 + x / 2 (1 - t^2) c (1 + 3 0.044715 x^2)), t the tanh"""
    t = tanh(like(x, math.sqrt(2 / math.pi)) * (x + like(x, 0.044715) * x * x * x))
    slope = like(x, math.sqrt(2 / math.pi)) * (like(x, 1) + like(x, 3 * 0.044715) * x * x)
    return g * (like(x, 0.5) * (like(x, 1) + t) + like(x, 0.5) * x * (like(x, 1) - t * t) * slope)


@pointwise("f -> f")
def sigmoid(x):
    """y = 1 / (1 + e^(-x))"""
    return like(x, 1) / (like(x, 1) + exp(-x))


@pointwise("f f -> f")
def sigmoid_grad(g, y):
    """gx = g y (1 - y)"""
    return g * (y * (like(y, 1) - y))


@pointwise("f -> f")
def silu(x):
    """y = x / (1 + e^(-x))"""
    return x / (like(x, 1) + exp(-x))


@pointwise("f f -> f")
def silu_grad(g, x):
    """gx = g s (1 + x (1 - s)), s = 1 / (1 + e^(-x))"""
    s = sigmoid(x)
    return g * (s * (like(x, 1) + x * (like(x, 1) - s)))


@pointwise("f f -> f")
def leaky_relu(x, slope):
    """y = x where x > 0, else slope x"""
    return x if x > 0 else slope * x


@pointwise("f f f -> f")
def leaky_relu_grad(g, x, slope):
    """gx = g where x > 0, else slope g"""
    return g if x > 0 else slope * g


@pointwise("f f -> f")
def elu(x, alpha):
    """y = x where x > 0, else alpha (e^x - 1)"""
    return x if x > 0 else alpha * expm1(x)


@pointwise("f f f -> f")
def elu_grad(g, x, alpha):
    """gx = g where x > 0, else g alpha e^x"""
    return g if x > 0 else g * (alpha * exp(x))


@pointwise("f f f -> f")
def softplus(x, beta, threshold):
    """y = x where beta x > threshold, else ln(1 + e^(beta x)) / beta"""
    z = beta * x
    return x if z > threshold else log1p(exp(z)) / beta


@pointwise("f f f -> f")
def softplus_grad(x, beta, threshold):
    """dy/dx = 1 where beta x > threshold, else 1 / (1 + e^(-beta x))"""
    z = beta * x
    return like(x, 1) if z > threshold else sigmoid(z)


# Losses


@pointwise("f f -> f")
def logistic_loss(x, t):
    """y = max(x, 0) - x t + ln(1 + e^(-|x|)): -t ln p - (1 - t) ln(1 - p) with p = 1 / (1 + e^(-x))"""
    return (x if x > 0 else like(x, 0)) - x * t + log1p(exp(-abs(x)))
