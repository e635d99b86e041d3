"""Normalization: layer_norm and batch_norm on one core, which brings groups of elements to mean 0 and variance 1."""

from __future__ import annotations

from math import prod
from typing import Any

from jitgrad.autograd import Primitive, Tensor, scalar
from jitgrad.errors import ShapeError
from jitgrad.ops._operands import pointwise_float
from jitgrad.ops.matmul import layer_dtypes
from jitgrad.ops.pointwise import add, div, mul, neg, sqrt, sub
from jitgrad.ops.reduce import mean, sum
from jitgrad.ops.views import reshape
from jitgrad.shapes import Shape, reduced_shape

_check_float = pointwise_float("normalize")


def _normalize_infer(x: Any, dims: tuple[int, ...], eps: float) -> list[tuple[Shape, Any]]:
    shape, dtype = _check_float(x)
    stats = (reduced_shape(tuple(shape), dims, True), dtype)
    return [(tuple(shape), dtype), stats, stats, stats]


# mean and var are there for running statistics; no gradient flows from them. That of rstd is needed where backward itself
# is differentiated: d rstd / dx = -rstd^2 xhat / n.
NORMALIZE: Primitive = Primitive(
    "normalize", "x", _normalize_infer, outputs="xhat mean var rstd",
    grad_x=lambda g, xhat, rstd, dims: _normalize_rule(g, xhat, rstd, dims),
)  # fmt: skip
# gx = rstd (g - mean(g) - xhat mean(g xhat)), which is linear in g and its own transpose
NORMALIZE_GRAD: Primitive = Primitive(
    "normalize_grad", "g xhat rstd", lambda g, xhat, rstd, dims: (g.shape, g.dtype),
    grad_g=lambda u, xhat, rstd, dims: NORMALIZE_GRAD.apply(u, xhat, rstd, dims),
    grad_xhat=lambda u, g, xhat, rstd, dims: neg(
        mul(rstd, add(mul(u, mean(mul(g, xhat), dims, True)), mul(g, mean(mul(u, xhat), dims, True))))
    ),
    grad_rstd=lambda u, g, xhat, rstd, dims: sum(
        mul(u, div(NORMALIZE_GRAD.apply(g, xhat, rstd, dims), rstd)), dims, True
    ),
)  # fmt: skip


def _normalize_rule(g: Any, xhat: Tensor, rstd: Tensor, dims: tuple[int, ...]) -> Tensor | None:
    g_xhat, _, _, g_rstd = g
    gx = None if g_xhat is None else NORMALIZE_GRAD.apply(g_xhat, xhat, rstd, dims)
    if g_rstd is None:
        return gx
    n = prod([xhat.shape[d] for d in dims])
    more = mul(mul(mul(g_rstd, mul(rstd, rstd)), xhat), -1.0 / n)
    return more if gx is None else add(gx, more)


def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:  # fmt: skip
    """``(x - mean) / sqrt(var + eps) * weight + bias``, over the last dims, which have the shape normalized_shape.

    var is the biased variance; sums accumulate in float64; kept for backward: the normalized x and 1 / sqrt(var + eps).
    Gradient to input: rstd (h - mean(h) - xhat mean(h xhat)) with h = g weight. Raises ShapeError, DTypeError.
    Source: Ba, Kiros and Hinton, Layer Normalization, 2016, equation 4.

    >>> import jitgrad as jg
    >>> y = jg.nn.functional.layer_norm(jg.tensor([[1.0, 3.0]]), (2,), eps=0.0)
    >>> y.tolist()
    [[-1.0, 1.0]]
    """
    wanted = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    shape = input.shape
    if not wanted or shape[len(shape) - len(wanted) :] != wanted:
        raise ShapeError(
            f"layer_norm: expected an input (..., {', '.join(map(str, wanted))}), given {shape}. "
            f"Give the layer normalized_shape={tuple(shape[len(shape) - len(wanted) :])}, or what comes before it that shape."
        )
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None:
            if t.shape != wanted:
                raise ShapeError(f"layer_norm: expected a {name} {wanted}, given {t.shape}.")
            layer_dtypes("layer_norm", input.array, t.array)
    dims = tuple(range(len(shape) - len(wanted), len(shape)))
    y = NORMALIZE.apply(input, dims, eps)[0]
    y = y if weight is None else mul(y, weight)
    return y if bias is None else add(y, bias)


def _update_infer(running_mean: Any, running_var: Any, mean: Any, var: Any, momentum: Any, n: int) -> list[Any]:
    return [(running_mean.shape, running_mean.dtype), (running_var.shape, running_var.dtype)]


UPDATE_RUNNING_: Primitive = Primitive(
    "update_running_", "running_mean running_var mean var momentum", _update_infer, mutates="running_mean running_var"
)  # fmt: skip


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """``(x - mean) / sqrt(var + eps) * weight + bias`` for each channel of (N, C, ...).

    While training, mean and (biased) var are those of the batch, and the running ones move towards them by momentum (the
    running variance towards the unbiased one); else the running ones are used. Raises ShapeError, DTypeError.
    Gradient while training: as layer_norm's, over all dims but the channel's.
    Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithm 1.

    >>> import jitgrad as jg
    >>> y = jg.nn.functional.batch_norm(jg.tensor([[1.0], [3.0]]), None, None, training=True, eps=0.0)
    >>> y.tolist()
    [[-1.0], [1.0]]
    """
    shape = input.shape
    if len(shape) < 2:
        raise ShapeError(f"batch_norm: expected an input (N, C, ...), given {shape}. Try x.unsqueeze(0).")
    C = shape[1]
    for name, t in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if t is not None:
            if t.shape != (C,):
                raise ShapeError(
                    f"batch_norm: expected a {name} ({C},) for the input {shape}, given {t.shape}. "
                    f"Give the layer num_features={C}, or what comes before it {t.numel()} channels."
                )
            layer_dtypes("batch_norm", input.array, t.array)
    if (running_mean is None) != (running_var is None):
        raise ShapeError("batch_norm: expected both running_mean and running_var, or neither.")
    dims = (0, *range(2, len(shape)))
    column = (1, C, *(1,) * (len(shape) - 2))
    if training:
        n = prod([shape[d] for d in dims])
        if n <= 1:
            raise ShapeError(
                f"batch_norm: expected more than 1 value per channel while training, given {shape}. Use a larger batch, or model.eval()."
            )
        xhat, batch_mean, batch_var, _ = NORMALIZE.apply(input, dims, eps)
        if running_mean is not None:
            m = scalar(momentum, input.array.dtype, input)
            UPDATE_RUNNING_.apply(running_mean, running_var, batch_mean, batch_var, m, n)
    else:
        if running_mean is None or running_var is None:
            raise ShapeError("batch_norm: expected running statistics outside training. Give them, or training=True.")
        rstd = div(1.0, sqrt(add(running_var, eps)))
        xhat = mul(sub(input, reshape(running_mean, column)), reshape(rstd, column))
    y = xhat if weight is None else mul(xhat, reshape(weight, column))
    return y if bias is None else add(y, reshape(bias, column))
