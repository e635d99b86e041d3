"""In-place ops: each is its pure op written back, so that gradients follow. Names end in an underscore, as PyTorch's do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from jitgrad.autograd import Tensor, as_tensor, cast, copy_ as _copy, scalar, to_device, write
from jitgrad.errors import InputTypeError, ShapeError
from jitgrad.ops import activation, elementary, pointwise
from jitgrad.ops.pointwise import add, div, mul, pow, sub


def add_(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input += alpha * other``, in place."""
    return write(input, "add_", lambda: add(input, other, alpha=alpha))


def sub_(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input -= alpha * other``, in place."""
    return write(input, "sub_", lambda: sub(input, other, alpha=alpha))


def mul_(input: Tensor, other: Any) -> Tensor:
    """``input *= other``, in place."""
    return write(input, "mul_", lambda: mul(input, other))


def div_(input: Tensor, other: Any) -> Tensor:
    """``input /= other``, in place."""
    return write(input, "div_", lambda: div(input, other))


def pow_(input: Tensor, exponent: Any) -> Tensor:
    """``input **= exponent``, in place."""
    return write(input, "pow_", lambda: pow(input, exponent))


def fill_(input: Tensor, value: Any) -> Tensor:
    """Every element becomes value (a number or a 0-d Tensor), in place. Gradient: 0 to input, the sum of g to value."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise ShapeError(f"fill_: expected a number or a 0-d Tensor, given shape {value.shape}. Use copy_.")
        return _copy(input, to_device(cast(value, input.array.dtype), input.device), "fill_")
    if not isinstance(value, (bool, int, float)):
        value = as_tensor(value).item()
    return _copy(input, scalar(value, input.array.dtype, input), "fill_")


def zero_(input: Tensor) -> Tensor:
    """Every element becomes 0, in place."""
    return _copy(input, scalar(0, input.array.dtype, input), "zero_")


def copy_(input: Tensor, src: Tensor) -> Tensor:
    """``input[...] = src`` in place: src is cast, moved to input's device and broadcast. Gradient: 0 to input, g to src."""
    if not isinstance(src, Tensor):
        raise InputTypeError(f"copy_: expected a Tensor, given {type(src).__name__}. Try fill_ or jg.tensor(...).")
    return _copy(input, to_device(cast(src, input.array.dtype), input.device))


def _in_place(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The op with its result written into its input."""
    name = f"{op.__name__}_"

    def method(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return write(input, name, lambda: op(input, *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"The tensor becomes its {op.__name__}(...), in place."
    method.__signature__ = inspect.signature(op)  # type: ignore[attr-defined]
    return method


UNARY = [_in_place(op) for op in (
    activation.sigmoid, elementary.abs, elementary.ceil, elementary.clamp, elementary.cos, elementary.erf, elementary.expm1,
    elementary.floor, elementary.log1p, elementary.reciprocal, elementary.round, elementary.rsqrt, elementary.sign, elementary.sin,
    elementary.square, pointwise.exp, pointwise.log, pointwise.neg, pointwise.sqrt, pointwise.tanh,
)]  # fmt: skip


def relu_(input: Tensor) -> Tensor:
    """Negative elements become 0, in place."""
    return activation.relu(input, inplace=True)
