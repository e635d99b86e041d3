"""Gradients kept within bounds, in place."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite
from typing import Any

from jitgrad.autograd import Tensor, cast, detach, no_grad
from jitgrad.dtypes import COMPUTED_FLOATS
from jitgrad.errors import DTypeError
from jitgrad.ops.convert import to
from jitgrad.ops.create import zeros
from jitgrad.ops.elementary import abs, clamp
from jitgrad.ops.inplace import copy_, mul_
from jitgrad.ops.join import stack
from jitgrad.ops.pointwise import add, div, mul, pow, sqrt
from jitgrad.ops.reduce import amax, sum


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float | str = 2.0, error_if_nonfinite: bool = False
) -> Tensor:  # fmt: skip
    """Scale all gradients by ``min(1, max_norm / (total + 1e-6))``, with total the norm of them all as one vector; returns total.

    Parameters
    ----------
    parameters
        Tensors, or one, whose gradients are changed in place; those without one are passed over.
    norm_type
        p of the p-norm, above 0; ``inf``, or "inf", is the largest absolute value.
    error_if_nonfinite
        Whether a total that is NaN or infinite is a RuntimeError, with no gradient changed; else it goes into the gradients.

    >>> import jitgrad as jg
    >>> p = jg.nn.Parameter(jg.zeros(2))
    >>> p.grad = jg.tensor([3.0, 4.0])
    >>> jg.nn.utils.clip_grad_norm_(p, max_norm=1.0).item()
    5.0
    >>> [round(g, 4) for g in p.grad.tolist()]
    [0.6, 0.8]
    """
    params = _tensors("clip_grad_norm_", parameters)
    limit = _number("clip_grad_norm_", "max_norm", max_norm)
    total = get_total_norm([p.grad for p in params if p.grad is not None], norm_type, error_if_nonfinite)
    clip_grads_with_norm_(params, limit, total)
    return total


@no_grad()
def get_total_norm(tensors: Tensor | Iterable[Tensor], norm_type: float | str = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """The p-norm of the elements of all tensors: ``(sum |x|^p)^(1/p)``, 0 for none; arguments as clip_grad_norm_'s.

    It is on the first one's device. No gradient flows through it.

    >>> import jitgrad as jg
    >>> jg.nn.utils.get_total_norm([jg.tensor([3.0]), jg.tensor([4.0])]).item()
    5.0
    """
    xs = [detach(t) for t in _tensors("get_total_norm", tensors)]
    p = float(norm_type) if norm_type == "inf" else _number("get_total_norm", "norm_type", norm_type)
    if not p > 0:
        raise ValueError(f"get_total_norm: norm_type is expected above 0, or inf, given {norm_type}.")
    for x in xs:
        if x.array.dtype.char not in COMPUTED_FLOATS:
            raise DTypeError(f"get_total_norm: expected float32 or float64 tensors, given {x.dtype}.")
    full = [x for x in xs if x.array.size]
    if not full:
        return zeros(())
    norms = [_norm(x, p) for x in full]
    total = norms[0] if len(norms) == 1 else _norm(stack([to(n, norms[0].device) for n in norms]), p)
    if error_if_nonfinite and not isfinite(total.item()):
        raise RuntimeError(
            f"the total norm of order {p} is non-finite: {total.item()}, no gradient was changed. "
            "Look for the cause, or clip with error_if_nonfinite=False."
        )
    return total


def _norm(x: Tensor, p: float) -> Tensor:
    if p == inf:
        return amax(abs(x))
    if p == 2.0:
        return sqrt(sum(mul(x, x)))
    if p == 1.0:
        return sum(abs(x))
    return pow(sum(pow(abs(x), p)), 1.0 / p)


@no_grad()
def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor) -> None:
    """Scale all gradients by ``min(1, max_norm / (total_norm + 1e-6))``, in place.

    >>> import jitgrad as jg
    >>> p = jg.nn.Parameter(jg.zeros(1))
    >>> p.grad = jg.tensor([8.0])
    >>> jg.nn.utils.clip_grads_with_norm_([p], 1.0, jg.tensor(2.0))
    >>> round(p.grad.item(), 4)
    4.0
    """
    grads = [g for p in _tensors("clip_grads_with_norm_", parameters) if (g := p.grad) is not None]
    limit = _number("clip_grads_with_norm_", "max_norm", max_norm)
    factor = clamp(div(limit, add(total_norm, 1e-6)), max=1.0)  # NaN stays NaN
    for g in grads:
        mul_(detach(g), cast(to(factor, g.device), g.array.dtype))


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring every element of all gradients into [-clip_value, clip_value], in place; NaN stays NaN.

    >>> import jitgrad as jg
    >>> p = jg.nn.Parameter(jg.zeros(3))
    >>> p.grad = jg.tensor([-2.0, 0.5, 2.0])
    >>> jg.nn.utils.clip_grad_value_([p], 1.0)
    >>> p.grad.tolist()
    [-1.0, 0.5, 1.0]
    """
    limit = _number("clip_grad_value_", "clip_value", clip_value)
    if limit < 0:
        raise ValueError(f"clip_grad_value_: clip_value is expected to be at least 0, given {limit}.")
    for p in _tensors("clip_grad_value_", parameters):
        if p.grad is not None:
            g = detach(p.grad)
            copy_(g, clamp(g, -limit, limit))


def _tensors(name: str, given: Any) -> list[Tensor]:
    """One tensor or several as a list."""
    if not isinstance(given, Tensor) and (isinstance(given, (str, dict)) or not isinstance(given, Iterable)):
        raise TypeError(f"{name}: expected tensors, given {type(given).__name__}. Try model.parameters().")
    tensors = [given] if isinstance(given, Tensor) else list(given)
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: expected tensors, given {type(t).__name__} at {i}. Try model.parameters().")
    return tensors


def _number(name: str, what: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise TypeError(f"{name}: {what} is expected to be a number, given {value!r}.")
    return float(value)
