"""conv2d and its two gradients, which name each other in their rules and so close them under differentiation; conv1d."""

from __future__ import annotations

from math import prod
from typing import Any

from jitgrad.autograd import Primitive, Tensor
from jitgrad.errors import ShapeError
from jitgrad.ops.matmul import layer_dtypes
from jitgrad.ops.reduce import sum
from jitgrad.ops.views import squeeze, unsqueeze
from jitgrad.shapes import Shape, as_ints, as_pair, conv_size

Pair = tuple[int, int]
Sizes = tuple[int, ...]
MOST = 1 << 48  # pixels of an image


def _output_sizes(
    name: str, xs: Shape, ws: Shape, bs: Shape | None, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Sizes:  # fmt: skip
    """Sizes of the output's dims after (N, F); checks all that shapes say."""
    dims, kernel = ("H, W", "KH, KW") if len(stride) == 2 else ("L", "K")
    if len(xs) != 2 + len(stride) or len(ws) != len(xs):
        raise ShapeError(
            f"{name}: expected an input (N, C, {dims}) and a weight (F, C / groups, {kernel}), given {xs} and {ws}. {_dims(xs, ws)}"
        )
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0 or groups < 1:
        raise ShapeError(
            f"{name}: expected stride, dilation and groups of at least 1 and padding of at least 0, "
            f"given {stride}, {dilation}, {groups} and {padding}."
        )
    C, (F, CG) = xs[1], ws[:2]
    if CG * groups != C or F % groups:
        raise ShapeError(
            f"{name}: expected an input with {CG * groups} channels for the weight {ws} with groups={groups}, given {xs}"
            + (f"; {F} filters do not divide into {groups} groups. " if F % groups else ". ")
            + f"Give the layer in_channels={C}, or what comes before it {CG * groups} channels."
        )
    if bs is not None and bs != (F,):
        raise ShapeError(f"{name}: expected a bias ({F},) for the weight {ws}, given {bs}.")
    if min(ws[2:]) < 1:
        raise ShapeError(f"{name}: expected a kernel of at least one pixel, given the weight {ws}. Give each dim of the kernel a size.")
    sizes = tuple(conv_size(*each) for each in zip(xs[2:], ws[2:], stride, padding, dilation, strict=True))
    if min(sizes) < 1:
        large, small = (" x ".join(map(str, s[2:])) for s in (ws, xs))
        raise ShapeError(
            f"{name}: the kernel {large} (dilation {dilation}) is larger than the input {small} with padding {padding}. "
            "Try a larger padding."
        )
    if prod(sizes) > MOST:
        raise ShapeError(f"{name}: the output's {dims} would be {sizes}, which no memory holds. Try a smaller padding than {padding}.")
    return sizes


def _dims(xs: Shape, ws: Shape) -> str:
    """What would make an input have the dims that a weight wants."""
    if len(xs) == len(ws) - 1:
        return "Try x.unsqueeze(0) for one image without a batch, x.unsqueeze(1) for images of one channel."
    if len(xs) == len(ws) - 2:
        return "Try x[None, None] for one image of one channel without a batch."
    return "Reshape it, e.g. by x.unflatten(1, (C, H, W))."


def _conv2d_infer(x: Any, w: Any, b: Any, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> tuple[Shape, Any]:
    xs, ws = tuple(x.shape), tuple(w.shape)
    sizes = _output_sizes("conv2d", xs, ws, None if b is None else tuple(b.shape), stride, padding, dilation, groups)
    layer_dtypes("conv2d", x, w, b)
    return (xs[0], ws[0], *sizes), x.dtype


CONV2D: Primitive = Primitive(
    "conv2d", "x w b", _conv2d_infer, optional="b",
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
    pad = _named_padding("conv2d", padding, weight.shape, s, d) if isinstance(padding, str) else padding
    return CONV2D.apply(input, weight, bias, s, as_pair(pad, "padding"), d, groups)


def _named_padding(op: str, name: str, w_shape: Shape, stride: Sizes, dilation: Sizes) -> Sizes:
    if name == "valid":
        return (0,) * len(stride)
    if name != "same":
        raise ShapeError(f"{op}: padding is expected to be ints, 'same' or 'valid', given {name!r}.")
    total = tuple(d * (k - 1) for d, k in zip(dilation, w_shape[2:], strict=False))
    if set(stride) != {1} or any(n % 2 for n in total):
        raise ShapeError(f"{op}: padding='same' is expected with stride 1 and kernels of odd size. Pad the input yourself.")
    return tuple(n // 2 for n in total)


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """1-d cross-correlation: ``y[n, f, i] = b[f] + sum_{c, k} x[n, c, i s + k d - p] w[f, c, k]``.

    input (N, C, L) or (C, L), weight (F, C / groups, K), bias (F,) or None; stride, padding ("same" and "valid" too), dilation and
    groups as conv2d's, which computes it on images of height 1. Returns (N, F, OL). Raises ShapeError and DTypeError.
    Gradient: as conv2d's.

    >>> import jitgrad as jg
    >>> x = jg.tensor([[[1.0, 2.0, 3.0]]], requires_grad=True)
    >>> y = jg.nn.functional.conv1d(x, jg.tensor([[[1.0, 10.0]]]))
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([[[21.0, 32.0]]], [[[1.0, 11.0, 10.0]]])
    """
    if input.ndim == 2:
        return squeeze(conv1d(unsqueeze(input, 0), weight, bias, stride, padding, dilation, groups), 0)
    d, s, xs, ws = as_ints(dilation, 1, "dilation"), as_ints(stride, 1, "stride"), input.shape, weight.shape
    p = _named_padding("conv1d", padding, ws, s, d) if isinstance(padding, str) else as_ints(padding, 1, "padding")
    _output_sizes("conv1d", xs, ws, None if bias is None else bias.shape, s, p, d, groups)
    layer_dtypes("conv1d", input.array, weight.array, None if bias is None else bias.array)
    image, filters = unsqueeze(input, 2), unsqueeze(weight, 2)  # (N, C, 1, L), (F, C / groups, 1, K)
    return squeeze(CONV2D.apply(image, filters, bias, (1, *s), (0, *p), (1, *d), groups), 2)
