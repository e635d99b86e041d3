"""Activations: relu, gelu, sigmoid, silu, leaky_relu, elu, softplus. With inplace, those that have it overwrite their input."""

from __future__ import annotations

from jitgrad.autograd import Primitive, Tensor, broadcasting, write
from jitgrad.errors import ArgumentError
from jitgrad.ops._operands import broadcasting3, float_and_numbers, floating, number, pointwise_float, pointwise_number
from jitgrad.ops.pointwise import MUL, add, exp, gt, mul, sub, tanh, where

RELU: Primitive = Primitive("relu", "x", pointwise_number("relu"), grad_x=lambda g, y: RELU_GRAD.apply(g, y))
RELU_GRAD: Primitive = Primitive("relu_grad", "g y", broadcasting("relu_grad"), grad_g=lambda u, y: RELU_GRAD.apply(u, y))
GELU: Primitive = Primitive(
    "gelu", "x", pointwise_float("gelu"), promote=lambda x: gelu(floating(x)), grad_x=lambda g, x: GELU_GRAD.apply(g, x)
)
# gelu''(x) = phi(x) (2 - x^2) with the normal density phi
GELU_GRAD: Primitive = Primitive(
    "gelu_grad", "g x", broadcasting("gelu_grad"), grad_g=lambda u, x: GELU_GRAD.apply(u, x),
    grad_x=lambda u, g, x: mul(MUL.apply(MUL.apply(u, g), mul(exp(mul(mul(x, x), -0.5)), sub(2, mul(x, x)))), 0.3989422804014327),
)  # fmt: skip
GELU_TANH: Primitive = Primitive(
    "gelu_tanh", "x", pointwise_float("gelu"), promote=lambda x: GELU_TANH.apply(floating(x)),
    grad_x=lambda g, x: GELU_TANH_GRAD.apply(g, x),
)  # fmt: skip
GELU_TANH_GRAD: Primitive = Primitive(
    "gelu_tanh_grad", "g x", broadcasting("gelu_tanh_grad"), grad_g=lambda u, x: GELU_TANH_GRAD.apply(u, x),
    grad_x=lambda u, g, x: MUL.apply(MUL.apply(u, g), _gelu_tanh_second(x)),
)  # fmt: skip


def _gelu_tanh_second(x: Tensor) -> Tensor:
    # With v = c (x + a x^3) and t = tanh v: (1 - t^2) (v' + x / 2 (v'' - 2 t v'^2))
    c, a = 0.7978845608028654, 0.044715
    t = tanh(mul(add(x, mul(mul(mul(x, x), x), a)), c))
    slope = add(mul(mul(x, x), 3 * a * c), c)
    bend = sub(mul(x, 6 * a * c), mul(mul(t, mul(slope, slope)), 2))
    return mul(sub(1, mul(t, t)), add(slope, mul(mul(x, bend), 0.5)))


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``, elementwise; NaN stays NaN.

    Gradient: g where y > 0, else 0 (0 at x = 0).

    >>> import jitgrad as jg
    >>> jg.relu(jg.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return write(input, "relu_", lambda: RELU.apply(input)) if inplace else RELU.apply(input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``x Phi(x)`` with the normal distribution function Phi, elementwise; ints become float32.

    With approximate="tanh": ``x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``.
    Gradient: g (Phi(x) + x phi(x)), or that of the approximation. Raises ArgumentError for another approximate.
    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.

    >>> import jitgrad as jg
    >>> round(jg.nn.functional.gelu(jg.tensor(1.0)).item(), 4)
    0.8413
    """
    if approximate == "none":
        return GELU.apply(input)
    if approximate != "tanh":
        raise ArgumentError(f"gelu: approximate is expected to be 'none' or 'tanh', given {approximate!r}.")
    return GELU_TANH.apply(input)


SIGMOID: Primitive = Primitive(
    "sigmoid", "x", pointwise_float("sigmoid"), promote=lambda x: sigmoid(floating(x)), grad_x=lambda g, y: SIGMOID_GRAD.apply(g, y)
)
SIGMOID_GRAD: Primitive = Primitive(
    "sigmoid_grad", "g y", broadcasting("sigmoid_grad"),
    grad_g=lambda u, y: SIGMOID_GRAD.apply(u, y), grad_y=lambda u, g, y: MUL.apply(MUL.apply(u, g), sub(1, mul(y, 2))),
)  # fmt: skip
SILU: Primitive = Primitive("silu", "x", pointwise_float("silu"), grad_x=lambda g, x: SILU_GRAD.apply(g, x))
SILU_GRAD: Primitive = Primitive(
    "silu_grad", "g x", broadcasting("silu_grad"),
    grad_g=lambda u, x: SILU_GRAD.apply(u, x), grad_x=lambda u, g, x: MUL.apply(MUL.apply(u, g), _silu_second(x)),
)  # fmt: skip


def _silu_second(x: Tensor) -> Tensor:
    # With s = sigmoid(x): s (1 - s) (2 + x (1 - 2 s))
    s = SIGMOID.apply(x)
    return mul(mul(s, sub(1, s)), add(mul(x, sub(1, mul(s, 2))), 2))


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + e^(-x))``, elementwise; ints become float32.

    Gradient: g y (1 - y).

    >>> import jitgrad as jg
    >>> x = jg.tensor([0.0], requires_grad=True)
    >>> y = jg.sigmoid(x)
    >>> y.backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.5], [0.25])
    """
    return SIGMOID.apply(input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``x sigmoid(x)``, elementwise, also known as swish.

    Gradient: g s (1 + x (1 - s)) with s = sigmoid(x). Raises DTypeError for ints.
    Source: Elfwing, Uchibe and Doya, Sigmoid-weighted linear units, 2017.

    >>> import jitgrad as jg
    >>> round(jg.nn.functional.silu(jg.tensor(1.0)).item(), 4)
    0.7311
    """
    return write(input, "silu_", lambda: SILU.apply(input)) if inplace else SILU.apply(input)


LEAKY_RELU: Primitive = Primitive(
    "leaky_relu", "x slope", float_and_numbers("leaky_relu"), grad_x=lambda g, x, slope: LEAKY_RELU_GRAD.apply(g, x, slope)
)
LEAKY_RELU_GRAD: Primitive = Primitive(
    "leaky_relu_grad", "g x slope", broadcasting3, grad_g=lambda u, x, slope: LEAKY_RELU_GRAD.apply(u, x, slope)
)
ELU: Primitive = Primitive("elu", "x alpha", float_and_numbers("elu"), grad_x=lambda g, x, alpha: ELU_GRAD.apply(g, x, alpha))
ELU_GRAD: Primitive = Primitive(
    "elu_grad", "g x alpha", broadcasting3,
    grad_g=lambda u, x, alpha: ELU_GRAD.apply(u, x, alpha),
    grad_x=lambda u, g, x, alpha: where(gt(x, 0), 0, ELU_GRAD.apply(mul(u, g), x, alpha)),
)  # fmt: skip
SOFTPLUS: Primitive = Primitive(
    "softplus", "x beta threshold", float_and_numbers("softplus"),
    grad_x=lambda g, x, beta, threshold: MUL.apply(g, SOFTPLUS_GRAD.apply(x, beta, threshold)),
)  # fmt: skip
# y is sigmoid(beta x), or 1 where softplus is x itself: there y (1 - y) is 0.
SOFTPLUS_GRAD: Primitive = Primitive(
    "softplus_grad", "x beta threshold", float_and_numbers("softplus_grad"),
    grad_x=lambda g, y, beta: MUL.apply(MUL.apply(g, beta), mul(y, sub(1, y))),
)  # fmt: skip


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``x`` where it is positive, else ``negative_slope x``, elementwise.

    Gradient: g where x > 0, else negative_slope g. Raises DTypeError for ints.
    Source: Maas, Hannun and Ng, Rectifier nonlinearities improve neural network acoustic models, 2013.

    >>> import jitgrad as jg
    >>> x = jg.tensor([-2.0, 3.0], requires_grad=True)
    >>> y = jg.nn.functional.leaky_relu(x, 0.5)
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([-1.0, 3.0], [0.5, 1.0])
    """
    slope = number("leaky_relu", negative_slope, input)
    return write(input, "leaky_relu_", lambda: LEAKY_RELU.apply(input, slope)) if inplace else LEAKY_RELU.apply(input, slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` where it is positive, else ``alpha (e^x - 1)``, elementwise.

    Gradient: g where x > 0, else g alpha e^x. Raises DTypeError for ints.
    Source: Clevert, Unterthiner and Hochreiter, Exponential Linear Units, 2016.

    >>> import jitgrad as jg
    >>> x = jg.tensor([0.0, 2.0], requires_grad=True)
    >>> y = jg.nn.functional.elu(x, alpha=0.5)
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.0, 2.0], [0.5, 1.0])
    """
    a = number("elu", alpha, input)
    return write(input, "elu_", lambda: ELU.apply(input, a)) if inplace else ELU.apply(input, a)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + e^(beta x)) / beta``, elementwise; x itself where ``beta x > threshold``.

    Gradient: g sigmoid(beta x), or g above the threshold. Raises DTypeError for ints.

    >>> import jitgrad as jg
    >>> x = jg.tensor([0.0, 30.0], requires_grad=True)
    >>> y = jg.nn.functional.softplus(x)
    >>> y.sum().backward()
    >>> [round(v, 4) for v in y.tolist()], x.grad.tolist()
    ([0.6931, 30.0], [0.5, 1.0])
    """
    return SOFTPLUS.apply(input, number("softplus", beta, input), number("softplus", threshold, input))
