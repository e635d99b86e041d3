"""Normalization: layer_norm and batch_norm bring groups of elements to mean 0 and variance 1, then scale and shift them."""

from __future__ import annotations

from math import prod
from typing import Any

from jitgrad import kernels
from jitgrad.autograd import Primitive, Tensor, broadcast_to, check_writable, scalar, sum_to, wrap
from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.ops._operands import pointwise_float
from jitgrad.ops.matmul import layer_dtypes
from jitgrad.ops.pointwise import add, div, mul, sqrt, sub
from jitgrad.ops.reduce import mean
from jitgrad.ops.views import reshape
from jitgrad.shapes import Shape


# ---- The backward of a backward, in ops. With h = g w, the mean M over a group, n = 1 / sqrt(var + eps) and
# N(v) = n (v - M(v) - xhat M(v xhat)), the gradients are gx = N(h), gw = sum g xhat, gb = sum g; u, uw, ub are the gradients
# that come for them, None where none came.
def _normalized(x: Tensor, dims: Shape, eps: float) -> tuple[Tensor, Tensor]:
    d = sub(x, mean(x, dims, True))
    rstd = div(1.0, sqrt(add(mean(mul(d, d), dims, True), eps)))
    return mul(d, rstd), rstd


def _transposed(v: Tensor, xhat: Tensor, rstd: Tensor, dims: Shape) -> Tensor:
    """N(v), which is linear and its own transpose."""
    return mul(rstd, sub(sub(v, mean(v, dims, True)), mul(xhat, mean(mul(v, xhat), dims, True))))


def _sum(*terms: Tensor | None) -> Tensor | None:
    there = [t for t in terms if t is not None]
    total = there[0] if there else None
    for t in there[1:]:
        total = add(total, t)
    return total


def _second_g(us: Any, x: Tensor, w: Tensor | None, like: Shape, dims: Shape, eps: float) -> Tensor | None:
    u, uw, ub = us
    xhat, rstd = _normalized(x, dims, eps)
    gu = None if u is None else _transposed(u, xhat, rstd, dims)
    return _sum(
        gu if gu is None or w is None else mul(gu, reshape(w, like)),
        None if uw is None else mul(reshape(uw, like), xhat),
        None if ub is None else broadcast_to(reshape(ub, like), x.shape),
    )


def _second_w(us: Any, g: Tensor, x: Tensor, shape: Shape, like: Shape, dims: Shape, eps: float) -> Tensor | None:
    u = us[0]
    return None if u is None else reshape(sum_to(mul(g, _transposed(u, *_normalized(x, dims, eps), dims)), like), shape)


def _second_x(us: Any, g: Tensor, x: Tensor, w: Tensor | None, like: Shape, dims: Shape, eps: float) -> Tensor | None:
    u, uw, _ = us
    xhat, rstd = _normalized(x, dims, eps)
    first = second = None
    if u is not None:
        # -n^2 (M(h xhat) (u - M(u)) + M(u xhat) (h - M(h)) + xhat (M(u h) - M(u) M(h) - 3 M(u xhat) M(h xhat)))
        h = g if w is None else mul(g, reshape(w, like))
        mu, mh = mean(u, dims, True), mean(h, dims, True)
        a, b = mean(mul(u, xhat), dims, True), mean(mul(h, xhat), dims, True)
        along = sub(sub(mean(mul(u, h), dims, True), mul(mu, mh)), mul(mul(a, b), 3.0))
        both = add(add(mul(b, sub(u, mu)), mul(a, sub(h, mh))), mul(xhat, along))
        first = mul(mul(mul(rstd, rstd), -1.0), both)
    if uw is not None:
        second = _transposed(mul(reshape(uw, like), g), xhat, rstd, dims)
    return _sum(first, second)


def _as_float(name: str, what: str, value: Any) -> float:
    """A number as a float; a tensor of one, too."""
    if type(value) is float:
        return value
    if not isinstance(value, (int, float)) and not hasattr(value, "item"):
        raise TypeError(f"{name}: {what} is expected to be a number, given {value!r}.")
    return float(value)


# ---- layer_norm
_check_float = pointwise_float("layer_norm")


def _layer_norm_infer(x: Any, w: Any, b: Any, wanted: Shape, eps: float) -> tuple[Shape, Any]:
    shape = tuple(x.shape)
    if not wanted or shape[len(shape) - len(wanted) :] != wanted:
        raise ShapeError(
            f"layer_norm: expected an input (..., {', '.join(map(str, wanted))}), given {shape}. "
            f"Give the layer normalized_shape={shape[len(shape) - len(wanted) :]}, or what comes before it that shape."
        )
    for name, t in (("weight", w), ("bias", b)):
        if t is not None:
            if t.shape != wanted:
                raise ShapeError(f"layer_norm: expected a {name} {wanted}, given {t.shape}.")
            layer_dtypes("layer_norm", x, t, what=name)
    return _check_float(x)


def _last(x: Tensor, wanted: Shape) -> Shape:
    """The last dims, which have the shape wanted."""
    return tuple(range(x.ndim - len(wanted), x.ndim))


# aux is the mean and 1 / sqrt(var + eps) of each row.
LAYER_NORM: Primitive = Primitive(
    "layer_norm", "x w b", _layer_norm_infer, optional="w b",
    grads=lambda g, x, w, aux, wanted, eps: LAYER_NORM_GRAD.apply(g, x, w, wrap(aux[0]), wanted, eps),
)  # fmt: skip
LAYER_NORM_GRAD: Primitive = Primitive(
    "layer_norm_grad", "g x w stats", optional="w", outputs="gx gw gb",
    infer=lambda g, x, w, stats, wanted, eps: [(g.shape, g.dtype), (wanted, g.dtype), (wanted, g.dtype)],
    grad_g=lambda u, x, w, wanted, eps: _second_g(u, x, w, wanted, _last(x, wanted), eps),
    grad_x=lambda u, g, x, w, wanted, eps: _second_x(u, g, x, w, wanted, _last(x, wanted), eps),
    grad_w=lambda u, g, x, wanted, eps: _second_w(u, g, x, wanted, wanted, _last(x, wanted), eps),
)  # fmt: skip


def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:  # fmt: skip
    """``(x - mean) / sqrt(var + eps) * weight + bias``, over the last dims, which have the shape normalized_shape.

    var is the biased variance; kept for backward: x, mean and rstd = 1 / sqrt(var + eps). Gradient to input:
    rstd (h - mean(h) - xhat mean(h xhat)) with h = g weight and xhat = (x - mean) rstd. Raises ShapeError, DTypeError.
    Source: Ba, Kiros and Hinton, Layer Normalization, 2016, equation 4.

    >>> import jitgrad as jg
    >>> y = jg.nn.functional.layer_norm(jg.tensor([[1.0, 3.0]]), (2,), eps=0.0)
    >>> y.tolist()
    [[-1.0, 1.0]]
    """
    wanted = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    y: Tensor = LAYER_NORM.apply(input, weight, bias, wanted, _as_float("layer_norm", "eps", eps))
    return y


# ---- batch_norm
_check_batch_float = pointwise_float("batch_norm")


def _batch_norm_infer(x: Any, w: Any, b: Any, eps: float) -> list[tuple[Shape, Any]]:
    shape, dtype = _check_batch_float(x)
    return [(shape, dtype), (tuple(shape[1:2]), dtype), (tuple(shape[1:2]), dtype)]


def _batch(x: Tensor) -> tuple[Shape, Shape]:
    """The shape in which channels broadcast, and the dims of a channel."""
    return _column(x.shape), (0, *range(2, x.ndim))


def _column(shape: Shape) -> Shape:
    return (1, shape[1], *(1,) * (len(shape) - 2))


# mean and (biased) var are there for running statistics; no gradient flows from them. aux is both.
BATCH_NORM: Primitive = Primitive(
    "batch_norm", "x w b", _batch_norm_infer, outputs="y mean var", optional="w b",
    grads=lambda g, x, w, aux, eps: BATCH_NORM_GRAD.apply(g[0], x, w, wrap(aux[0]), eps),
)  # fmt: skip
BATCH_NORM_GRAD: Primitive = Primitive(
    "batch_norm_grad", "g x w stats", optional="w", outputs="gx gw gb",
    infer=lambda g, x, w, stats, eps: [(g.shape, g.dtype), (stats.shape[1:], g.dtype), (stats.shape[1:], g.dtype)],
    grad_g=lambda u, x, w, eps: _second_g(u, x, w, *_batch(x), eps),
    grad_x=lambda u, g, x, w, eps: _second_x(u, g, x, w, *_batch(x), eps),
    grad_w=lambda u, g, x, eps: _second_w(u, g, x, (x.shape[1],), *_batch(x), eps),
)  # fmt: skip


def _update_infer(running_mean: Any, running_var: Any, mean: Any, var: Any, momentum: Any, n: int) -> list[Any]:
    return [(running_mean.shape, running_mean.dtype), (running_var.shape, running_var.dtype)]


UPDATE_RUNNING_: Primitive = Primitive(
    "update_running_", "running_mean running_var mean var momentum", _update_infer, mutates="running_mean running_var"
)  # fmt: skip


def _check_running(mean: Tensor, var: Tensor) -> None:
    """Raise for running statistics that cannot be written."""
    check_writable(mean, "batch_norm: running_mean")
    check_writable(var, "batch_norm: running_var")
    if mean.numel() and kernels.of(mean.array).address(mean.array) == kernels.of(var.array).address(var.array):
        raise ArgumentError("batch_norm: running_mean and running_var share their memory: expected one tensor for each. Clone one.")


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """``(x - mean) / sqrt(var + eps) * weight + bias`` for each channel of (N, C, ...).

    While training, mean and (biased) var are those of the batch, and the running ones move towards them by momentum (the
    running variance towards the unbiased one); else the running ones are used. Raises ShapeError, DTypeError, and GradError where
    the running ones cannot be written.
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
            layer_dtypes("batch_norm", input.array, t.array, what=name)
    if (running_mean is None) != (running_var is None):
        raise ShapeError("batch_norm: expected both running_mean and running_var, or neither.")
    eps = _as_float("batch_norm", "eps", eps)
    if training:
        n = prod(shape) // C if C else 2
        if n <= 1:
            raise ShapeError(
                f"batch_norm: expected more than 1 value per channel while training, given {shape}. Use a larger batch, or model.eval()."
            )
        if running_mean is not None and running_var is not None:
            momentum = _as_float("batch_norm", "momentum", momentum)
            _check_running(running_mean, running_var)
        y, batch_mean, batch_var = BATCH_NORM.apply(input, weight, bias, eps)
        if running_mean is not None:
            m = scalar(momentum, input.array.dtype, input)
            UPDATE_RUNNING_.apply(running_mean, running_var, batch_mean, batch_var, m, n)
        return y
    if running_mean is None or running_var is None:
        raise ShapeError("batch_norm: expected running statistics outside training. Give them, or training=True.")
    # The mean goes first: x scale - mean scale would cancel, above all in the gradient of the weight.
    column = _column(shape)
    rstd = div(1.0, sqrt(add(running_var, eps)))
    y = mul(sub(input, reshape(running_mean, column)), reshape(rstd if weight is None else mul(weight, rstd), column))
    return y if bias is None else add(y, reshape(bias, column))
