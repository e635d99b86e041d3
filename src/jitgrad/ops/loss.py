"""Losses on class scores: nll_loss, cross_entropy. Losses on numbers: mse_loss, l1_loss, binary_cross_entropy_with_logits."""

from __future__ import annotations

from math import prod
from typing import Any

from jitgrad import dtypes, kernels
from jitgrad.autograd import Primitive, Tensor, cast, filled, is_grad_enabled, wrap
from jitgrad.errors import ArgumentError, DTypeError, GradError, OutOfRangeError, ShapeError
from jitgrad.ops._operands import check_tensors, float_and_numbers, operands
from jitgrad.ops.activation import SIGMOID
from jitgrad.ops.elementary import abs
from jitgrad.ops.pointwise import DIV, MUL, add, div, mul, neg, sub, where
from jitgrad.ops.reduce import mean, sum
from jitgrad.ops.softmax import log_softmax, softmax
from jitgrad.ops.views import reshape
from jitgrad.shapes import Shape, as_int

_INT64 = dtypes.int64.numpy


_REDUCTIONS = ("none", "mean", "sum")


def _labels_infer(name: str) -> Any:
    """infer of a loss on scores (N, C, ...) and labels (N, ...)."""

    def infer(x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> tuple[Shape, Any]:
        shape = tuple(x.shape)
        if len(shape) < 2 or tuple(target.shape) != (shape[0], *shape[2:]):
            raise ShapeError(
                f"{name}: expected an input (N, C, ...) and targets (N, ...), given {shape} and {tuple(target.shape)}. Reshape one."
            )
        if target.dtype != _INT64:
            raise DTypeError(f"{name}: expected int64 labels, given {target.dtype}. Try target.long().")
        if x.dtype.char not in dtypes.COMPUTED_FLOATS:
            raise DTypeError(f"{name}: expected float32 or float64, given {x.dtype}. Try x.float().")
        if weight is not None and tuple(weight.shape) != (shape[1],):
            raise ShapeError(f"{name}: expected a weight ({shape[1]},), one for each class, given {tuple(weight.shape)}.")
        if weight is not None and weight.dtype != x.dtype:
            raise DTypeError(f"{name}: the input is {x.dtype} and the weight {weight.dtype}. Try weight.to(jg.{x.dtype}).")
        return (tuple(target.shape) if reduction == "none" else ()), x.dtype

    return infer


def _check_labels(name: str) -> Any:
    """check of a loss on labels."""

    def check(x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> None:
        _check_range(name, target, x.shape[1], ignore_index)

    return check


def _check_range(name: str, target: Any, C: int, ignore_index: int) -> None:
    """Every label is a class, or ignore_index."""
    k = kernels.of(target)
    if k.first_outside(target, 0, C) < 0:
        return
    labels = k.to_host(target).reshape(-1)
    bad = labels[((labels < 0) | (labels >= C)) & (labels != ignore_index)]
    if bad.size:
        classes = f"labels 0 to {C - 1} for {C} classes, or" if C else "an input with classes, or only"
        raise OutOfRangeError(f"{name}: target {bad[0]} is out of range: expected {classes} ignore_index={ignore_index}.")


def _check_arguments(name: str, input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> None:
    """What can be said of labels before anything is computed."""
    check_tensors(name, input, target, *(() if weight is None else (weight,)))
    if not -(2**63) <= ignore_index < 2**63:
        raise ArgumentError(f"{name}: ignore_index is expected to be an int64, given {ignore_index}.")
    shape = input.shape
    if not shape:
        raise ShapeError(f"{name}: expected an input (N, C, ...) or (C,), given a number.")
    if target.array.dtype.kind == "f" and target.shape == shape and name == "cross_entropy":
        _check_probabilities(shape, weight, ignore_index)
        return
    expected = (shape[0], *shape[2:]) if len(shape) > 1 else ()
    if target.shape != expected:
        raise ShapeError(
            f"{name}: expected targets of shape {expected} for the input {shape}, given {target.shape}. {_refit(target.shape, expected)}"
        )
    if target.array.dtype.kind not in "iu":
        raise DTypeError(f"{name}: expected int labels, given {target.dtype}. Try target.long().")
    if weight is not None and weight.requires_grad and is_grad_enabled():
        raise GradError(f"{name}: with labels the weight has no gradient. Try weight.detach().")


def _refit(given: Shape, expected: Shape) -> str:
    """What would make targets fit."""
    if given == (*expected, 1):
        return "Try target.squeeze(-1)."
    return "Scores are (N, C), with a class in each column; targets are (N,)."


def _check_probabilities(shape: Shape, weight: Tensor | None, ignore_index: int) -> None:
    C = shape[0] if len(shape) == 1 else shape[1]
    if weight is not None and weight.shape != (C,):
        raise ShapeError(f"cross_entropy: expected a weight ({C},), one for each class of the input {shape}, given {weight.shape}.")
    if ignore_index >= 0:
        raise ArgumentError(
            f"cross_entropy: probabilities have no label that could be ignored, given ignore_index={ignore_index}. Leave it out."
        )


def _unchanged(target: Any, weight: Any, shape: Shape) -> Shape:
    """The shape of the input in backward. Labels and weights are checked again: NumPy may have written to their memory meanwhile."""
    if tuple(target.shape) != (shape[0], *shape[2:]) or (weight is not None and tuple(weight.shape) != (shape[1],)):
        raise GradError(
            "the .data of the targets or of the weight was replaced by another shape after the loss was computed. Compute it anew."
        )
    return shape


# aux is the sum of the weights that count, by which a mean is divided.
NLL: Primitive = Primitive(
    "nll", "x target weight", _labels_infer("nll_loss"), optional="weight", check=_check_labels("nll_loss"),
    grad_x=lambda g, target, weight, aux, x_shape, ignore_index, reduction: NLL_GRAD.apply(
        DIV.apply(g, wrap(aux[0])) if reduction == "mean" else g, target, weight, x_shape, ignore_index
    ),
)  # fmt: skip
# The transpose of NLL without its mean: g is one number, or one for each target.
NLL_GRAD: Primitive = Primitive(
    "nll_grad", "g target weight", lambda g, target, weight, x_shape, ignore_index: (_unchanged(target, weight, x_shape), g.dtype),
    optional="weight", check=lambda g, target, weight, x_shape, ignore_index: _check_range("nll_loss", target, x_shape[1], ignore_index),
    grad_g=lambda u, target, weight, g_shape, ignore_index: NLL.apply(
        u, target, weight, ignore_index, "none" if g_shape else "sum"
    ),
)  # fmt: skip


# Of logits (N, C). aux is the sum of the weights that count, and of each row the maximum and the sum of exponentials.
CROSS_ENTROPY: Primitive = Primitive(
    "cross_entropy", "x target weight", _labels_infer("cross_entropy"), optional="weight", check=_check_labels("cross_entropy"),
    grad_x=lambda g, x, target, weight, aux, ignore_index, reduction: _cross_entropy_grad(
        DIV.apply(g, wrap(aux[0])) if reduction == "mean" else g, x, target, weight, wrap(aux[1]), ignore_index
    ),
)  # fmt: skip
# g (p - onehot(t)), 0 where t is ignored; g is one number, or one for each target. It runs where nothing is recorded, and has no rules.
CROSS_ENTROPY_GRAD: Primitive = Primitive(
    "cross_entropy_grad", "g x stats target",
    lambda g, x, stats, target, ignore_index: (_unchanged(target, None, tuple(x.shape)), x.dtype),
    check=lambda g, x, stats, target, ignore_index: _check_range("cross_entropy", target, x.shape[1], ignore_index),
)  # fmt: skip


def _cross_entropy_grad(g: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, stats: Tensor, ignore_index: int) -> Tensor:
    """weight[t] g (p - onehot(t)), 0 where t is ignored; g is one number, or one for each target."""
    recorded = is_grad_enabled()
    if weight is None and not recorded:
        return CROSS_ENTROPY_GRAD.apply(g, x, stats, target, ignore_index)
    _unchanged(target.array, None if weight is None else weight.array, x.shape)
    # The weight of each target, 0 where it is ignored.
    counted = NLL.apply(filled(x.shape, -1, x), target, weight, ignore_index, "none")
    scaled = mul(g, counted)
    if not recorded:
        return CROSS_ENTROPY_GRAD.apply(scaled, x, stats, target, ignore_index)
    return add(mul(reshape(scaled, (-1, 1)), softmax(x, 1)), NLL_GRAD.apply(g, target, weight, x.shape, ignore_index))


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: None = None, ignore_index: int = -100,
    reduce: None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Negative log likelihood: ``-weight[t] x[t]`` at each target t.

    input (N, C, ...) log-probabilities or (C,), target (N, ...) int labels. "mean" divides by the weights of the targets that count.
    Raises OutOfRangeError (an IndexError) for a label that is no class. Gradient: -weight[t] g at each target.

    >>> import jitgrad as jg
    >>> jg.nn.functional.nll_loss(jg.tensor([[-1.0, -2.0]]), jg.tensor([1])).item()
    2.0
    """
    ignore_index = as_int(ignore_index, "ignore_index")
    check_reduction("nll_loss", reduction, size_average, reduce)
    _check_arguments("nll_loss", input, target, weight, ignore_index)
    shape = input.shape
    labels = cast(target, _INT64)
    if len(shape) > 1:
        return NLL.apply(input, labels, weight, ignore_index, reduction)
    loss = NLL.apply(reshape(input, (1, *shape)), reshape(labels, (1,)), weight, ignore_index, reduction)
    return reshape(loss, ())


def check_reduction(name: str, reduction: str, size_average: object = None, reduce: object = None) -> None:
    """Raise for what is no reduction, and for the two arguments that PyTorch had before it."""
    if size_average is not None or reduce is not None:
        raise ArgumentError(f"{name}: size_average and reduce are old names. Use reduction='none', 'mean' or 'sum'.")
    if reduction not in _REDUCTIONS:
        raise ArgumentError(f"{name}: reduction is expected to be 'none', 'mean' or 'sum', given {reduction!r}.")


def _is_plain(input: Any, target: Any, weight: Any, ignore_index: Any) -> bool:
    """Logits (N, C), int64 labels (N,) and no weight: there is nothing to convert, and infer checks the rest."""
    return (
        isinstance(input, Tensor) and isinstance(target, Tensor) and weight is None and type(ignore_index) is int
        and len(input.array.shape) == 2 and target.array.dtype is _INT64 and target.array.shape == input.array.shape[:1]
        and -(2**63) <= ignore_index < 2**63
    )  # fmt: skip


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: None = None, ignore_index: int = -100,
    reduce: None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Cross entropy of logits against labels or class probabilities: ``-sum_c q[c] log_softmax(x)[c]``.

    Parameters
    ----------
    input
        (N, C, ...) or (C,) logits.
    target
        Labels (N, ...), each a class from 0 to C - 1 or ignore_index; or probabilities with the shape of input.
    weight
        (C,): a weight for each class.
    reduction
        "mean" (over the weights of the targets that count), "sum" or "none".
    label_smoothing
        0 to 1: mixes so much of the uniform distribution into the target.

    Raises ShapeError, DTypeError, OutOfRangeError (an IndexError) for a label that is no class.
    Gradient to input, for labels and reduction "none": g (softmax(x) - onehot(t)).

    >>> import jitgrad as jg
    >>> x = jg.tensor([[0.0, 0.0]], requires_grad=True)
    >>> jg.nn.functional.cross_entropy(x, jg.tensor([1])).backward()
    >>> x.grad.tolist()
    [[0.5, -0.5]]
    """
    if (
        _is_plain(input, target, weight, ignore_index)
        and label_smoothing == 0.0
        and reduction in _REDUCTIONS
        and size_average is reduce is None
    ):
        return CROSS_ENTROPY.apply(input, target, None, ignore_index, reduction)  # what every step of a classifier does
    check_reduction("cross_entropy", reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(f"cross_entropy: label_smoothing is expected between 0 and 1, given {label_smoothing}.")
    ignore_index = as_int(ignore_index, "ignore_index")
    _check_arguments("cross_entropy", input, target, weight, ignore_index)
    shape = input.shape
    if len(shape) == 2 and not label_smoothing and target.array.dtype.kind != "f":
        return CROSS_ENTROPY.apply(input, cast(target, _INT64), weight, ignore_index, reduction)
    dim = 0 if len(shape) == 1 else 1
    log_p = log_softmax(input, dim)
    if target.shape == shape and target.array.dtype.kind == "f":
        return _soft_cross_entropy(log_p, target, weight, reduction, label_smoothing, dim)
    loss = nll_loss(log_p, target, weight, ignore_index=ignore_index, reduction=reduction)
    if not label_smoothing:
        return loss
    uniform = _against_uniform(log_p, cast(target, _INT64), weight, ignore_index, reduction, dim)
    return add(mul(loss, 1.0 - label_smoothing), mul(uniform, label_smoothing))


def _against_uniform(log_p: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, dim: int) -> Tensor:
    """The mean over classes of -weight[c] log p[c], where the target counts."""
    weighted = log_p if weight is None else mul(log_p, _by_class(weight, log_p.ndim, dim))
    counted = target != ignore_index
    counts = counted.to(log_p.dtype)
    smooth = where(counted, neg(sum(weighted, dim)), 0)
    total = None
    if reduction == "mean":
        total = sum(counts if weight is None else mul(counts, _weights_of(weight, target, ignore_index)))
    return div(_reduced(smooth, reduction, total), log_p.shape[dim])


def _reduced(losses: Tensor, reduction: str, total: Tensor | None = None) -> Tensor:
    """The losses themselves, their sum, or that over total."""
    if reduction == "none":
        return losses
    return sum(losses) if total is None else div(sum(losses), total)


def _weights_of(weight: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    counted = target != ignore_index
    return weight[(target * counted).to(dtypes.int64)]


def _by_class(weight: Tensor, ndim: int, dim: int) -> Tensor:
    return reshape(weight, tuple(-1 if i == dim else 1 for i in range(ndim)))


def _soft_cross_entropy(log_p: Tensor, q: Tensor, weight: Tensor | None, reduction: str, smoothing: float, dim: int) -> Tensor:
    C = log_p.shape[dim]
    if smoothing:
        q = add(mul(q, 1.0 - smoothing), smoothing / max(C, 1))
    terms = mul(log_p, q)
    if weight is not None:
        terms = mul(terms, _by_class(weight, log_p.ndim, dim))
    losses = neg(sum(terms, dim))
    if reduction == "mean":
        return div(sum(losses), prod(losses.shape) if C else 0)  # nan over nothing
    return _reduced(losses, reduction)


# ---- losses on numbers
def _same_shape(name: str, input: Any, target: Any) -> None:
    check_tensors(name, input, target)
    if input.array.shape != target.array.shape:
        raise ShapeError(
            f"{name}: expected a target of the input's shape {input.shape}, given {target.shape}: broadcasting would pair each element "
            "with many others. Try target.reshape(input.shape)."
        )


def _put_together(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else mean(losses) if reduction == "mean" else sum(losses)


def _weighted(name: str, losses: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """The losses put together; a mean with weights is over the weights."""
    if weight is None:
        return _put_together(losses, reduction)
    if weight.shape != losses.shape:
        raise ShapeError(f"{name}: expected a weight of the input's shape {losses.shape}, given {weight.shape}.")
    losses = mul(losses, weight)
    return div(sum(losses), sum(weight)) if reduction == "mean" else _put_together(losses, reduction)


def mse_loss(
    input: Tensor, target: Tensor, size_average: None = None, reduce: None = None, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:  # fmt: skip
    """Squared error: ``(x - t)^2``, its mean ("mean"), its sum ("sum") or each ("none").

    input and target have one shape, so has weight, by which the errors are multiplied; a mean is then over the weights.
    Raises ShapeError, ArgumentError. Gradient: 2 g (x - t) to input, over the number of elements for "mean".

    >>> import jitgrad as jg
    >>> x = jg.tensor([1.0, 3.0], requires_grad=True)
    >>> loss = jg.nn.functional.mse_loss(x, jg.tensor([1.0, 1.0]))
    >>> loss.backward()
    >>> loss.item(), x.grad.tolist()
    (2.0, [0.0, 2.0])
    """
    check_reduction("mse_loss", reduction, size_average, reduce)
    _same_shape("mse_loss", input, target)
    error = sub(input, target)
    return _weighted("mse_loss", MUL.apply(error, error), weight, reduction)


def l1_loss(
    input: Tensor, target: Tensor, size_average: None = None, reduce: None = None, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:  # fmt: skip
    """Absolute error: ``|x - t|``, its mean ("mean"), its sum ("sum") or each ("none"); arguments as mse_loss's.

    Gradient: g sign(x - t) to input, over the number of elements for "mean".

    >>> import jitgrad as jg
    >>> x = jg.tensor([1.0, 3.0], requires_grad=True)
    >>> loss = jg.nn.functional.l1_loss(x, jg.tensor([1.0, 1.0]))
    >>> loss.backward()
    >>> loss.item(), x.grad.tolist()
    (1.0, [0.0, 0.5])
    """
    check_reduction("l1_loss", reduction, size_average, reduce)
    _same_shape("l1_loss", input, target)
    return _weighted("l1_loss", abs(sub(input, target)), weight, reduction)


LOGISTIC_LOSS: Primitive = Primitive(
    "logistic_loss", "x t", float_and_numbers("binary_cross_entropy_with_logits"),
    grad_x=lambda g, x, t: MUL.apply(g, sub(SIGMOID.apply(x), t)), grad_t=lambda g, x: neg(MUL.apply(g, x)),
)  # fmt: skip


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: None = None, reduce: None = None,
    reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Binary cross entropy of logits: ``-t log p - (1 - t) log(1 - p)`` with ``p = sigmoid(x)``, without ever computing p.

    Parameters
    ----------
    input, target
        Logits and probabilities (0 or 1 for labels), of one shape.
    weight
        By which each loss is multiplied; it broadcasts.
    reduction
        "mean" (over all elements), "sum" or "none".
    pos_weight
        By which the first term is multiplied; it broadcasts: above 1 it counts a missed 1 for more.

    Raises ShapeError, DTypeError, ArgumentError. Gradient without weights, for "none": g (p - t) to input, -g x to target.

    >>> import jitgrad as jg
    >>> x = jg.tensor([0.0, 100.0], requires_grad=True)
    >>> loss = jg.nn.functional.binary_cross_entropy_with_logits(x, jg.tensor([1.0, 0.0]), reduction="sum")
    >>> loss.backward()
    >>> round(loss.item(), 4), x.grad.tolist()
    (100.6931, [-0.5, 1.0])
    """
    name = "binary_cross_entropy_with_logits"
    check_reduction(name, reduction, size_average, reduce)
    _same_shape(name, input, target)
    x, t = operands(name, input, target)
    if pos_weight is None:
        losses = LOGISTIC_LOSS.apply(x, t)
    else:  # -log p is the loss for t = 1
        factor = add(mul(sub(pos_weight, 1), t), 1)
        losses = add(mul(sub(1, t), x), mul(factor, LOGISTIC_LOSS.apply(x, filled(x.array.shape, 1, x))))
    losses = losses if weight is None else mul(losses, weight)
    if losses.shape != x.shape:
        raise ShapeError(f"{name}: expected weight and pos_weight that broadcast to the input {x.shape}, given {losses.shape} in all.")
    return _put_together(losses, reduction)
