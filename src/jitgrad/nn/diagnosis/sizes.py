"""Gradients that vanish or explode along a model: their sizes, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import inf, log10, sqrt
from typing import NamedTuple

from jitgrad.autograd import Tensor, no_grad
from jitgrad.nn._place import short_name
from jitgrad.nn.diagnosis.report import Finding
from jitgrad.nn.diagnosis.watch import Run, largest

_VANISHED = 1e-6  # of the last layer's gradient; residual nets are above 1e-2, five layers with sigmoids between them above 1e-5
_EXPLODED = 1e8
_GROWN = 1e4  # the result, in inputs, or one layer's gradient in another's
_LEAST = 4  # so many layers are a way along which something can shrink step by step
_UNDERFLOW = 1e-30  # near what float32 can still tell from 0

_FIX = "a normalization after each layer, such as LayerNorm or BatchNorm, residual connections, or {}"


class _Layer(NamedTuple):
    """A layer with a weight, in the order in which layers run: its name, and the size of the weight's gradient."""

    name: str
    size: float


def root_mean_square(t: Tensor) -> float:
    """The size of a tensor's elements, also where their squares are beyond its dtype."""
    most = largest(t)
    if not 0 < most < inf:
        return most
    with no_grad():
        x = t / most
        return float(most * sqrt((x * x).mean().item()))


def gradient_sizes(run: Run) -> Iterator[Finding]:
    """At most one finding: that gradients vanish on their way to the first layers, or that they explode."""
    layers = _layers(run)
    if len(layers) < 2 or any(not layer.size < inf for layer in layers):
        return
    first, last = layers[0], layers[-1]
    if _vanishing(layers):
        text = _words("vanish on the way back", first, last, len(layers))
        fix = _FIX.format("another activation or init, such as ReLU with init.kaiming_normal_")
        yield Finding("vanishing gradient", "warning", first.name.partition(" ")[0], text, fix=fix)
    elif max(layer.size for layer in layers) > _EXPLODED and _growing(run, layers):
        text = _words("explode", first, last, len(layers))
        yield Finding("exploding gradient", "warning", first.name.partition(" ")[0], text, fix=_FIX.format("a smaller init"))


def _words(what: str, first: _Layer, last: _Layer, n: int) -> str:
    return (
        f"the gradients {what}: their root mean square is {_short(first.size)} for the weight of {first.name}, the first of {n} layers, "
        f"and {_short(last.size)} for that of {last.name}, the last."
    )


def _short(size: float) -> str:
    return f"{size:.1e}" if size else "0"


def _layers(run: Run) -> list[_Layer]:
    """The layers whose weights have a gradient, in the order in which the run used them first."""
    used: dict[int, int] = {}
    for i, op in enumerate(run.watch.ops):
        for t in op.inputs:
            used.setdefault(id(t), i)
    found: list[tuple[int, _Layer]] = []
    for path, p in run.trainable.items():
        g = run.gradients.get(id(p))
        if g is not None and id(p) in used and p.ndim > 1 and p.numel() and p.itemsize >= 4:
            owner = path.rpartition(".")[0]
            found.append((used[id(p)], _Layer(_named(run, owner, path), root_mean_square(g))))
    return [layer for _, layer in sorted(found, key=lambda pair: pair[0])]


def _named(run: Run, owner: str, path: str) -> str:
    call = next((c for c in run.watch.calls if c.path == owner), None)
    return f"{owner} ({short_name(call.module)})" if owner and call is not None else path


def _vanishing(layers: list[_Layer]) -> bool:
    """Whether sizes fall from the last layer to the first, far and step by step.

    One large step is on purpose, as the small weight of a branch or of one part of the loss; zeros are told elsewhere, but for those
    that the smallest floats lead to.
    """
    some = sorted(layer.size for layer in layers if layer.size)
    if len(some) < _LEAST or layers[-1].size == 0:
        return False
    bottom = layers[0].size or (some[0] if some[0] < _UNDERFLOW else inf)
    top = layers[-1].size
    if not bottom < _VANISHED * top:
        return False
    between = [size for size in some if bottom <= size <= top]
    steps = [log10(b) - log10(a) for a, b in pairwise(between)]
    return 2 * max(steps) <= log10(top) - log10(bottom)


def _growing(run: Run, layers: list[_Layer]) -> bool:
    """Whether the model makes its gradients large: large data or a large loss alone does not."""
    sizes = [layer.size for layer in layers if layer.size]
    if max(sizes) > _GROWN * min(sizes):
        return True
    data = max((root_mean_square(t) for t in run.inputs if t.is_floating_point() and largest(t) < inf), default=1.0)
    values = [root_mean_square(t) for t in run.result if t.is_floating_point() and t.itemsize >= 4 and t.array.size]
    return any(_GROWN * max(data, 1.0) < size < inf for size in values)
