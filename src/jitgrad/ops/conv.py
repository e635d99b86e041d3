"""conv2d and its two gradients. The three name each other in their rules, which closes them under differentiation."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Primitive, Tensor
from jitgrad.errors import ShapeError
from jitgrad.ops.matmul import layer_dtypes
from jitgrad.ops.reduce import sum
from jitgrad.ops.views import squeeze, unsqueeze
from jitgrad.shapes import Shape, as_pair, conv_size

Pair = tuple[int, int]


def _conv2d_infer(x: Any, w: Any, b: Any, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> tuple[Shape, Any]:
    xs, ws = tuple(x.shape), tuple(w.shape)
    if len(xs) != 4 or len(ws) != 4:
        raise ShapeError(f"conv2d: expected an input (N, C, H, W) and a weight (F, C / groups, KH, KW), given {xs} and {ws}.")
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0 or groups < 1:
        raise ShapeError(
            "conv2d: expected stride, dilation and groups of at least 1 and padding of at least 0, "
            f"given {stride}, {dilation}, {groups} and {padding}."
        )
    N, C, H, W = xs
    F, CG, KH, KW = ws
    if CG * groups != C or F % groups:
        raise ShapeError(
            f"conv2d: expected an input with {CG * groups} channels for the weight {ws} with groups={groups}, given {xs}"
            + (f"; {F} filters do not divide into {groups} groups." if F % groups else ".")
        )
    layer_dtypes("conv2d", x, w, b)
    if b is not None and tuple(b.shape) != (F,):
        raise ShapeError(f"conv2d: expected a bias ({F},) for the weight {ws}, given {tuple(b.shape)}.")
    OH = conv_size(H, KH, stride[0], padding[0], dilation[0])
    OW = conv_size(W, KW, stride[1], padding[1], dilation[1])
    if OH < 1 or OW < 1 or KH < 1 or KW < 1:
        raise ShapeError(
            f"conv2d: the kernel {KH} x {KW} (dilation {dilation}) is larger than the input {H} x {W} with padding {padding}. "
            "Try a larger padding."
        )
    return (N, F, OH, OW), x.dtype


CONV2D: Primitive = Primitive(
    "conv2d", "x w b", _conv2d_infer, optional=True,
    grad_x=lambda g, w, x_shape, stride, padding, dilation, groups: CONV2D_GRAD_X.apply(
        g, w, x_shape, stride, padding, dilation, groups
    ),
    grad_w=lambda g, x, w_shape, stride, padding, dilation, groups: CONV2D_GRAD_W.apply(
        g, x, w_shape, stride, padding, dilation, groups
    ),
    grad_b=lambda g: sum(g, (0, 2, 3)),
)  # fmt: skip

CONV2D_GRAD_X: Primitive = Primitive(
    "conv2d_grad_x", "g w", lambda g, w, x_shape, stride, padding, dilation, groups: (x_shape, g.dtype),
    grad_g=lambda u, w, stride, padding, dilation, groups: _plain(u, w, stride, padding, dilation, groups),
    grad_w=lambda u, g, w_shape, stride, padding, dilation, groups: CONV2D_GRAD_W.apply(
        g, u, w_shape, stride, padding, dilation, groups
    ),
)  # fmt: skip

CONV2D_GRAD_W: Primitive = Primitive(
    "conv2d_grad_w", "g x", lambda g, x, w_shape, stride, padding, dilation, groups: (w_shape, g.dtype),
    grad_g=lambda u, x, stride, padding, dilation, groups: _plain(x, u, stride, padding, dilation, groups),
    grad_x=lambda u, g, x_shape, stride, padding, dilation, groups: CONV2D_GRAD_X.apply(
        g, u, x_shape, stride, padding, dilation, groups
    ),
)  # fmt: skip


def _plain(x: Tensor, w: Tensor, *p: Any) -> Tensor:
    return CONV2D.apply(x, w, None, *p)


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """2-d cross-correlation: ``y[n, f, i, j] = b[f] + sum_{c, k, l} x[n, c, i s + k d - p, j s + l d - p] w[f, c, k, l]``.

    Parameters
    ----------
    input
        (N, C, H, W), or (C, H, W) for one image.
    weight
        (F, C / groups, KH, KW).
    bias
        (F,) or None.
    stride, padding, dilation
        An int or a pair; padding is with zeros, or "same" (stride 1: the output is as large as the input), or "valid" (none).
    groups
        Channels and filters are cut into so many groups, each filter seeing only its group.

    Returns (N, F, OH, OW) with OH = floor((H + 2 p - d (KH - 1) - 1) / s) + 1. Raises ShapeError and DTypeError.
    Gradient: g correlated with the flipped weight to input, x correlated with g to weight, g summed to bias.

    >>> import jitgrad as jg
    >>> x = jg.ones(1, 1, 3, 3)
    >>> jg.nn.functional.conv2d(x, jg.ones(1, 1, 2, 2)).tolist()
    [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    if input.ndim == 3:
        return squeeze(conv2d(unsqueeze(input, 0), weight, bias, stride, padding, dilation, groups), 0)
    d, s = as_pair(dilation, "dilation"), as_pair(stride, "stride")
    if isinstance(padding, str):
        padding = _named_padding(padding, weight.shape, s, d)
    p = (s, as_pair(padding, "padding"), d, groups)
    return CONV2D.apply(input, weight, bias, *p)


def _named_padding(name: str, w_shape: Shape, stride: Pair, dilation: Pair) -> Pair:
    if name == "valid":
        return (0, 0)
    if name != "same":
        raise ShapeError(f"conv2d: padding is expected to be ints, 'same' or 'valid', given {name!r}.")
    total = tuple(d * (k - 1) for d, k in zip(dilation, w_shape[2:], strict=False))
    if stride != (1, 1) or any(n % 2 for n in total):
        raise ShapeError("conv2d: padding='same' is expected with stride 1 and kernels of odd size. Pad the input yourself.")
    return total[0] // 2, total[1] // 2
