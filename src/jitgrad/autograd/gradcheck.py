"""gradcheck and gradgradcheck: backward rules against central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad import kernels
from jitgrad.autograd.creation import detach, tensor, to_device
from jitgrad.autograd.graph import grad
from jitgrad.autograd.mode import enable_grad, no_grad
from jitgrad.autograd.tensor import Tensor
from jitgrad.errors import DTypeError, GradError

FULL_JACOBIAN = 64  # inputs up to so many elements are checked element by element, larger ones along random directions
DIRECTIONS = 4


def gradcheck(
    func: Callable[..., Any], inputs: Tensor | Sequence[Any], *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-4,
    raise_exception: bool = True, fast_mode: bool = False, seed: int = 0,
) -> bool:  # fmt: skip
    """Whether the gradients of ``func(*inputs)`` agree with central differences ``(f(x + eps v) - f(x - eps v)) / 2 eps``.

    Small inputs are checked element by element (the full Jacobian), larger ones, and all with fast_mode, along random directions.
    Inputs that require grad are expected in float64. Raises GradError that names input, output and the numbers, or returns
    False with ``raise_exception=False``.

    >>> import jitgrad as jg
    >>> x = jg.tensor([0.3, 0.7], dtype=jg.float64, requires_grad=True)
    >>> jg.autograd.gradcheck(jg.exp, x)
    True
    """
    args = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    if not checked:
        raise GradError("gradcheck: expected at least one input that requires grad.")
    for i in checked:
        if args[i].array.dtype != np.float64:
            raise DTypeError(
                f"gradcheck: expected float64 inputs, given {args[i].dtype} for input {i}: float32 differences are too coarse."
            )
    rng = np.random.default_rng(seed)
    try:
        outputs = _outputs(func, args)
        for k, y in enumerate(outputs):
            if y.is_floating_point():
                _check_output(func, args, checked, k, y, rng, (eps, atol, rtol, fast_mode))
    except GradError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any], inputs: Tensor | Sequence[Any], grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-4, raise_exception: bool = True, fast_mode: bool = False, seed: int = 0,
) -> bool:  # fmt: skip
    """gradcheck of the gradients: of the function that takes inputs and upstream gradients to the gradients of func.

    >>> import jitgrad as jg
    >>> x = jg.tensor([0.3, 0.7], dtype=jg.float64, requires_grad=True)
    >>> jg.autograd.gradgradcheck(jg.exp, x)
    True
    """
    args = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    outputs = [y for y in _outputs(func, args) if y.requires_grad]
    if grad_outputs is None:
        rng = np.random.default_rng(seed + 1)
        upstream = [to_device(tensor(rng.uniform(-1, 1, y.shape)), y.device).requires_grad_() for y in outputs]
    else:
        upstream = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)

    @enable_grad()
    def gradients(*all_args: Any) -> tuple[Tensor, ...]:
        # Differences come as constants, under no_grad: here they are inputs again.
        wanted = {*checked, *range(len(args), len(all_args))}
        fresh = [detach(x).requires_grad_() if i in wanted and not x.requires_grad else x for i, x in enumerate(all_args)]
        xs, gs = fresh[: len(args)], fresh[len(args) :]
        ys = [y for y in _outputs(func, xs) if y.requires_grad]
        found = grad(ys, [xs[i] for i in checked], gs, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None and g.requires_grad)

    if not gradients(*args, *upstream):
        return True  # gradients that depend on nothing are right at any order
    return gradcheck(
        gradients, (*args, *upstream), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception, fast_mode=fast_mode, seed=seed
    )


def _outputs(func: Callable[..., Any], args: Sequence[Any]) -> list[Tensor]:
    result = func(*args)
    return [result] if isinstance(result, Tensor) else [y for y in result if isinstance(y, Tensor)]


def _check_output(func: Any, args: Any, checked: list[int], k: int, y: Tensor, rng: Any, how: tuple[float, float, float, bool]) -> None:
    """Compare sum(u * y) for random u: one backward gives all its derivatives, each is also a difference quotient."""
    eps, atol, rtol, fast = how
    u = rng.uniform(0.5, 1.5, y.shape)
    weights = to_device(tensor(u), y.device)
    # An output that does not require grad claims to depend on nothing: differences must be zero, too.
    wanted = [args[i] for i in checked]
    grads = grad(y, wanted, weights, retain_graph=True, allow_unused=True) if y.requires_grad else (None,) * len(wanted)
    for i, g in zip(checked, grads, strict=True):
        x = args[i]
        analytic = np.zeros(x.shape) if g is None else _host(g)
        size = analytic.size
        if size <= FULL_JACOBIAN and not fast:
            directions: Any = np.eye(size).reshape(size, *x.shape)
        else:
            directions = rng.standard_normal((DIRECTIONS, *x.shape)) / max(size, 1) ** 0.5
        for d, v in enumerate(directions):
            moved = [_projected(func, args, i, k, u, s * eps * v) for s in (1, -1)]
            numeric = (moved[0] - moved[1]) / (2 * eps)
            expected = float((analytic * v).sum())
            if not abs(numeric - expected) <= atol + rtol * abs(numeric):
                where = f"element {d}" if size <= FULL_JACOBIAN and not fast else f"random direction {d}"
                raise GradError(f"gradcheck: output {k}, input {i}, {where}: backward says {expected:.8g}, differences say {numeric:.8g}.")


@no_grad()
def _projected(func: Any, args: Any, i: int, k: int, u: np.ndarray, change: np.ndarray) -> float:
    x = args[i]
    moved = to_device(tensor(_host(x) + change), x.device)
    ys = _outputs(func, [*args[:i], moved, *args[i + 1 :]])
    return float((_host(ys[k]) * u).sum())


def _host(x: Tensor) -> np.ndarray:
    host: np.ndarray = kernels.of(x.array).to_host(detach(x).array)
    return host
