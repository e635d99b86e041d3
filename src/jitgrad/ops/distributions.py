"""Draws that other ops make of uniform and normal numbers: rand_like, normal, bernoulli, multinomial, and the in-place ones."""

from __future__ import annotations

import builtins
from typing import Any

from jitgrad import dtypes
from jitgrad.autograd import Tensor, cast, check_writable, copy_, no_grad
from jitgrad.errors import ArgumentError, DTypeError, ShapeError
from jitgrad.ops.create import full_like
from jitgrad.ops.join import cat
from jitgrad.ops.pointwise import add, div, eq, gt, le, log, lt, mul, neg, sub, where
from jitgrad.ops.random import Generator, rand, randint, randn
from jitgrad.ops.reduce import argmax, sum
from jitgrad.ops.select import topk
from jitgrad.ops.summary import all, any, min
from jitgrad.ops.views import expand, unsqueeze
from jitgrad.shapes import as_shape, broadcast_shapes

MOST = 1 << 20  # random numbers that multinomial draws at a time


def rand_like(
    input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:  # fmt: skip
    """Uniform random numbers in [0, 1) with the shape, dtype and device of another tensor.

    >>> import jitgrad as jg
    >>> jg.rand_like(jg.ones(2, 3)).shape
    (2, 3)
    """
    return rand(input.shape, generator=generator, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def randn_like(
    input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:  # fmt: skip
    """Random numbers of the standard normal distribution with the shape, dtype and device of another tensor.

    >>> import jitgrad as jg
    >>> jg.randn_like(jg.ones(2, 3)).shape
    (2, 3)
    """
    return randn(input.shape, generator=generator, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def randint_like(
    input: Tensor, low: int, high: int | None = None, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Random whole numbers from low up to, but not including, high, with the shape, dtype and device of another tensor.

    >>> import jitgrad as jg
    >>> jg.randint_like(jg.ones(2), 3, 4).tolist()
    [3.0, 3.0]
    """
    low, high = (0, low) if high is None else (low, high)
    return randint(
        low, high, input.shape, generator=generator, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad
    )


def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Random numbers of the normal distribution with these means and standard deviations: Tensors that broadcast, or numbers.

    With two numbers the size is required. No gradient flows to mean and std. Raises ArgumentError for a std below 0.

    >>> import jitgrad as jg
    >>> jg.normal(3.0, 0.0, (2,)).tolist()
    [3.0, 3.0]
    """
    given = [t for t in (mean, std) if isinstance(t, Tensor)]
    if not given and size is None:
        raise TypeError("normal: expected a size with two numbers. Try jg.normal(mean, std, (n,)).")
    if given and size is not None:
        raise TypeError("normal: a size goes with two numbers, not with Tensors: theirs is the size.")
    with no_grad():
        if any(lt(std, 0)) if isinstance(std, Tensor) else std < 0:
            raise ArgumentError(f"normal: expected a std of at least 0, given {std}.")
        if given:
            shape = broadcast_shapes(*(t.shape for t in given))
            dtype, device = dtype or given[0].dtype, device or given[0].device
        else:
            shape = as_shape((size,))
        y = add(mul(randn(shape, generator=generator, dtype=dtype, device=device), std), mean)
    return y.requires_grad_() if requires_grad else y


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that input gives for each element, else 0; in input's dtype. No gradient.

    Raises ArgumentError for a probability outside 0 to 1, DTypeError for ints.

    >>> import jitgrad as jg
    >>> jg.bernoulli(jg.tensor([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    if not input.is_floating_point():
        raise DTypeError(f"bernoulli: expected probabilities of a float dtype, given {input.dtype}. Try x.float().")
    with no_grad():
        inside = where(lt(input, 0), False, le(input, 1))
        if not all(inside):
            raise ArgumentError("bernoulli: expected probabilities from 0 to 1.")
        return cast(lt(rand_like(input, generator=generator), input), input.array.dtype)


def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None) -> Tensor:
    """Random indices of the last dim, each as likely as its weight.

    Parameters
    ----------
    input
        (C,) or (rows, C) weights of at least 0; they need not add up to 1.
    num_samples
        How many indices for each row.
    replacement
        Whether an index may come again; if not, weights of 0 are never drawn.

    Returns (num_samples,) or (rows, num_samples) int64. No gradient. Raises ArgumentError where a weight is negative, infinite or
    NaN, or where there are too few to draw from.
    Each weight races with an exponential time of its own, and the first to arrive are taken.
    Source: Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.

    >>> import jitgrad as jg
    >>> jg.multinomial(jg.tensor([0.0, 3.0, 0.0]), 2, replacement=True).tolist()
    [1, 1]
    """
    if input.ndim not in (1, 2) or not input.is_floating_point():
        raise ShapeError(f"multinomial: expected weights (C,) or (rows, C) of a float dtype, given {input.shape} {input.dtype}.")
    (n,) = as_shape((num_samples,))
    with no_grad():
        weights = input.detach()
        if not all(where(lt(weights, 0), False, lt(weights, float("inf")))):
            raise ArgumentError("multinomial: expected weights of at least 0, none infinite or NaN.")
        fewest = int(min(sum(gt(weights, 0), -1))) if weights.numel() else 0
        if n < 1 or fewest < (1 if replacement else n):
            raise ArgumentError(f"multinomial: expected 1 to {fewest} samples, as many as there are weights above 0, given {n}.")
        if not replacement:
            return topk(_arrivals(weights, generator), n, -1).indices
        each = builtins.max(1, MOST // weights.numel())  # draws at a time: every one is a race between all weights
        parts = [_races(weights, builtins.min(each, n - done), generator) for done in range(0, n, each)]
        return parts[0] if len(parts) == 1 else cat(parts, -1)


def _races(weights: Tensor, n: int, generator: Generator | None) -> Tensor:
    """n draws with replacement."""
    draws = expand(unsqueeze(weights, -2), *weights.shape[:-1], n, weights.shape[-1])
    return argmax(_arrivals(draws, generator), -1)


def _arrivals(weights: Tensor, generator: Generator | None) -> Tensor:
    """Weights over exponential times: the largest comes first; 0 for a weight of 0."""
    times = neg(log(sub(1, rand(weights.shape, generator=generator, dtype=dtypes.float64, device=weights.device))))
    return div(weights.double(), where(eq(times, 0), 1e-300, times))


# ---- in place
def uniform_(input: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Every element becomes a random number between from_ and to, in place."""
    if not from_ <= to:
        raise ArgumentError(f"uniform_: expected from <= to, given {from_} and {to}.")
    return _filled(input, "uniform_", lambda: add(mul(rand_like(input, generator=generator), to - from_), from_))


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Every element becomes a random number of the normal distribution, in place."""
    if not std >= 0:
        raise ArgumentError(f"normal_: expected a std of at least 0, given {std}.")
    return _filled(input, "normal_", lambda: add(mul(randn_like(input, generator=generator), std), mean))


def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Every element becomes 1 with probability p (a number, or a Tensor that broadcasts), else 0, in place."""
    like = p.to(input.dtype) if isinstance(p, Tensor) else full_like(input, p)
    return _filled(input, "bernoulli_", lambda: bernoulli(expand(like.detach(), input.shape), generator=generator))


def _filled(input: Tensor, name: str, draw: Any) -> Tensor:
    if input.array.dtype.char not in dtypes.COMPUTED_FLOATS:
        raise DTypeError(f"{name}: expected float32 or float64, given {input.dtype}.")
    check_writable(input, name)
    return copy_(input, draw(), name)
