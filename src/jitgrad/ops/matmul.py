"""Matrix products: matmul of any ranks, linear, bilinear."""

from __future__ import annotations

from math import prod
from typing import Any

from jitgrad.autograd import ADD, Primitive, Tensor
from jitgrad.dtypes import COMPUTED_FLOATS, COMPUTED_NUMBERS, refuse_float16
from jitgrad.errors import DTypeError, LayerDTypeError, ShapeError
from jitgrad.ops.reduce import SUM
from jitgrad.ops.views import mT, reshape, squeeze, unsqueeze
from jitgrad.shapes import ALL_DIMS, Shape, broadcast_shapes


def _matmul_dtypes(a: Any, b: Any) -> None:
    if a.dtype != b.dtype:
        raise DTypeError(f"matmul: expected equal dtypes, given {a.dtype} and {b.dtype}. Try b.to(a.dtype).")
    refuse_float16("matmul", a.dtype)
    if a.dtype.char == "?":
        raise DTypeError("matmul: bool tensors are not supported. Try x.float().")


def _matmul_infer(a: Any, b: Any) -> tuple[Shape, Any]:
    dtype = a.dtype
    if b.dtype is not dtype or dtype.char not in COMPUTED_NUMBERS:
        _matmul_dtypes(a, b)
    return _matmul_shape(tuple(a.shape), tuple(b.shape)), dtype


class _Vector(ShapeError):
    """One operand has one dim, which matmul takes for a row or a column."""


def _matmul_shape(sa: Shape, sb: Shape) -> Shape:
    if len(sa) < 2 or len(sb) < 2:
        if not sa or not sb:
            raise ShapeError(f"matmul: the {'second' if sa else 'first'} operand has no dims. Use * for a product with a number.")
        raise _Vector(f"matmul: expected at least 2 dims, given {sa} and {sb}.")
    if sa[-1] != sb[-2]:
        raise ShapeError(
            "matmul: expected the last dim of the first to equal the second to last of the second, "
            f"given {sa} and {sb}: {sa[-1]} is not {sb[-2]}. "
            "Is one of them to be transposed?"
        )
    if len(sa) == 2 and len(sb) == 2:
        return (sa[0], sb[1])
    return (*broadcast_shapes(sa[:-2], sb[:-2]), sa[-2], sb[-1])


MATMUL: Primitive = Primitive(
    "matmul", "a b", _matmul_infer, broadcasts=True,  # batch dims broadcast
    grad_a=lambda g, b: LINEAR.apply(g, b, None) if b.array.ndim == 2 else MATMUL.apply(g, mT(b)),
    grad_b=lambda g, a: LINEAR_GRAD_W.apply(a, g) if a.array.ndim == g.array.ndim == 2 else MATMUL.apply(mT(a), g),
)  # fmt: skip


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product: ``y[..., i, j] = sum_k a[..., i, k] b[..., k, j]``; 1-d operands are a row on the left, a column on the right.

    Shapes (..., M, K) and (..., K, N) with batch dims that broadcast; equal dtypes. Raises ShapeError, DTypeError.
    Gradient: g b^T to input, a^T g to other.

    >>> import jitgrad as jg
    >>> jg.matmul(jg.tensor([[1.0, 2.0]]), jg.tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    try:
        return MATMUL.apply(input, other)
    except _Vector:
        pass
    row, column = input.ndim == 1, other.ndim == 1
    a = unsqueeze(input, 0) if row else input
    b = unsqueeze(other, 1) if column else other
    y = MATMUL.apply(a, b)
    y = squeeze(y, -1) if column else y
    return squeeze(y, -1 if column else -2) if row else y


def _linear_infer(x: Any, w: Any, b: Any) -> tuple[Shape, Any]:
    dtype = x.dtype
    if w.dtype is not dtype or (b is not None and b.dtype is not dtype) or dtype.char not in COMPUTED_FLOATS:
        layer_dtypes("linear", x, w, b)
    return _linear_shape(tuple(x.shape), tuple(w.shape), None if b is None else tuple(b.shape)), dtype


def _linear_shape(xs: Shape, ws: Shape, bs: Shape | None) -> Shape:
    if len(ws) != 2:
        raise ShapeError(f"linear: expected a weight (out_features, in_features), given {ws}.")
    if not xs or xs[-1] != ws[1]:
        raise ShapeError(f"linear: expected an input (..., {ws[1]}) for the weight {ws}, given {xs}. {_fit(xs, ws[1])}")
    if bs is not None and bs != ws[:1]:
        raise ShapeError(f"linear: expected a bias ({ws[0]},) for the weight {ws}, given {bs}.")
    return (*xs[:-1], ws[0])


def _fit(xs: Shape, features: int) -> str:
    """What would make an input have so many features."""
    for d in range(len(xs) - 2, 0, -1):
        if prod(xs[d:]) == features:
            return f"Try x.flatten({d}) before it."
    if len(xs) > 1 and xs[-2] == features:
        return "Try x.mT, if rows and columns are exchanged."
    if not xs:
        return "Give it a vector, or rows of them."
    return f"Give the layer in_features={xs[-1]}, or what comes before it {features} outputs."


def layer_dtypes(name: str, x: Any, w: Any, b: Any = None, what: str = "weight") -> None:
    """Raise where a layer would have to promote: input, weight (or what else w is) and bias share one float dtype."""
    dtype = x.dtype
    if w.dtype is not dtype and w.dtype != dtype:
        raise LayerDTypeError(
            f"{name}: the input is {dtype} and the {what} {w.dtype}, and layers do not promote. "
            f"Try x.to(jg.{w.dtype}), or model.to(jg.{dtype})."
        )
    if b is not None and b.dtype is not dtype and b.dtype != dtype:
        raise DTypeError(f"{name}: the weight is {dtype} and the bias {b.dtype}: expected equal dtypes. Try model.to(jg.{dtype}).")
    if dtype.char not in "fd":
        raise DTypeError(f"{name}: expected float32 or float64, given {dtype}. Try x.float().")


LINEAR: Primitive = Primitive(
    "linear", "x w b", _linear_infer, optional="b",
    grad_x=lambda g, w: MATMUL.apply(g, w) if g.array.ndim > 1 else matmul(g, w),
    grad_w=lambda g, x: LINEAR_GRAD_W.apply(g, x),
    grad_b=lambda g: SUM.apply(g, ALL_DIMS[g.array.ndim - 1], False) if g.array.ndim > 1 else g,
)  # fmt: skip
# gw = sum over all rows of g^T x
LINEAR_GRAD_W: Primitive = Primitive(
    "linear_grad_w", "g x", lambda g, x: ((g.shape[g.ndim - 1], x.shape[x.ndim - 1]), g.dtype),
    grad_g=lambda u, x: LINEAR.apply(x, u, None),
    grad_x=lambda u, g: matmul(g, u),
)  # fmt: skip


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y = x W^T + b``.

    Parameters
    ----------
    input
        (..., in_features).
    weight
        (out_features, in_features), of the same float dtype: layers never promote.
    bias
        (out_features,) or None.

    Returns (..., out_features). Raises ShapeError and DTypeError before anything is computed.
    Gradient: g W to input, g^T x to weight, g summed over its leading dims to bias.

    >>> import jitgrad as jg
    >>> jg.nn.functional.linear(jg.tensor([[1.0, 2.0]]), jg.tensor([[3.0, 4.0]]), jg.tensor([0.5])).tolist()
    [[11.5]]
    """
    return LINEAR.apply(input, weight, bias)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y[..., k] = sum_{i, j} x1[..., i] W[k, i, j] x2[..., j] + b[k]``.

    Parameters
    ----------
    input1, input2
        (..., I) and (..., J), with the same leading dims.
    weight
        (K, I, J), of the same float dtype.
    bias
        (K,) or None.

    Returns (..., K). Raises ShapeError and DTypeError. Gradient: as linear's in each of the three.

    >>> import jitgrad as jg
    >>> w = jg.tensor([[[1.0, 10.0]]])
    >>> jg.nn.functional.bilinear(jg.tensor([2.0]), jg.tensor([3.0, 4.0]), w).tolist()
    [86.0]
    """
    s1, s2, ws = input1.shape, input2.shape, weight.shape
    if len(ws) != 3:
        raise ShapeError(f"bilinear: expected a weight (out_features, in1_features, in2_features), given {ws}.")
    K, I, J = ws
    if not s1 or not s2 or s1[:-1] != s2[:-1] or (s1[-1], s2[-1]) != (I, J):
        raise ShapeError(
            f"bilinear: expected inputs (..., {I}) and (..., {J}) for the weight {ws}, given {s1} and {s2}. "
            "Give the layer in1_features and in2_features of their last dims; the others are equal."
        )
    if bias is not None and bias.shape != (K,):
        raise ShapeError(f"bilinear: expected a bias ({K},) for the weight {ws}, given {bias.shape}.")
    for x in (input1, input2):
        layer_dtypes("bilinear", x.array, weight.array, None if bias is None else bias.array)
    lead = s1[:-1]
    rows = reshape(LINEAR.apply(input2, reshape(weight, (K * I, J)), None), (*lead, K, I))  # sum over j
    y = squeeze(MATMUL.apply(rows, unsqueeze(input1, -1)), -1)  # (..., K, I) (..., I, 1)
    return y if bias is None else ADD.apply(y, bias)
