"""Parameters whose gradient is exactly zero, and the operation or the weights that make it so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from jitgrad.autograd import Tensor
from jitgrad.nn._trace import Op
from jitgrad.nn.diagnosis.report import Finding, listed
from jitgrad.nn.diagnosis.watch import ZERO, Run, by_module, place_of, worst
from jitgrad.nn.dropout import Dropout
from jitgrad.nn.parameter import Parameter
from jitgrad.ops.activation import RELU

_FLAT = frozenset({"sign", "floor", "ceil", "round"})
_BOUNDS = frozenset({"clamp_min", "clamp_max"})
_SATURATING = frozenset({"sigmoid", "tanh", "softmax"})
_ENOUGH = 32  # so many zeros of a relu are no accident


class _Reason(NamedTuple):
    """Why a gradient is zero: how bad that is, in words, the fix."""

    severity: str
    why: str
    fix: str = ""


def zero_gradients(run: Run, dead: list[Op]) -> Iterator[Finding]:
    """Findings about gradients that are exactly zero; those that come from the operations ``dead`` are told elsewhere."""
    if not all(t.array.size for t in run.inputs):
        return  # of an empty batch all gradients are zero
    causes: dict[Any, tuple[_Reason, Op | None, list[str]]] = {}
    for path, m in run.model.named_modules():
        own = {name: p for name, p in m._parameters.items() if p is not None and p.requires_grad and p.array.size}
        came = [g for p in own.values() if (g := run.gradients.get(id(p))) is not None]
        # A bias that a normalization takes out again has no effect; its weight does. So all of a module's must be zero.
        if not came or len(came) < len(own) or any(worst(g) != ZERO for g in came):
            continue
        culprit, way = _culprit(run, next(iter(own.values())))
        if any(culprit is op for op in dead) or (culprit is not None and _drops_all(culprit)):
            continue
        reason = _reason(run, culprit, way)
        entry = causes.setdefault((culprit and culprit.line, reason), (reason, culprit, []))
        entry[2].extend(f"{path}.{name}" if path else name for name in own)
    for reason, culprit, paths in causes.values():
        names = by_module(paths)
        text = f"the gradient of {listed(names)} is exactly zero everywhere{reason.why}."
        yield Finding("zero gradient", reason.severity, listed(names), text, None if culprit is None else culprit.line, reason.fix)


def _culprit(run: Run, p: Parameter) -> tuple[Op | None, set[int]]:
    """The operation that got a gradient other than zero and handed on only zeros, on the way to p; and the tensors on that way."""
    arrived = run.watch.arrived
    zeros = {id(p)}
    for op in run.watch.ops:
        if any(id(t) in zeros for t in op.inputs):
            came = [arrived[id(y)] for y in op.outputs if id(y) in arrived]
            if any(state != ZERO for state in came):
                return op, zeros
            if came:
                zeros.update(map(id, op.outputs))
    return None, zeros


def _drops_all(op: Op) -> bool:
    return op.call is not None and isinstance(op.call.module, Dropout) and op.call.module.p == 1.0


def _reason(run: Run, op: Op | None, way: set[int]) -> _Reason:
    if op is None:
        return _Reason("warning", ": it does not change the loss")
    place, name = place_of(op), op.prim.name
    if op.prim is RELU:
        return _of_relu(run, op, f": {place} is 0 for this whole batch")
    if name in _FLAT:
        return _Reason("warning", f": {place} is flat, its derivative is 0", f"use a smooth function in the place of {name}")
    other = _zero_operand(run, op, way)
    if isinstance(other, Parameter):
        return _by_weight(run, other, f": {place} multiplies by")
    if other is not None:
        return _by_input(run, other, f": {place} multiplies by")
    if name in _SATURATING:
        fix = "make its input smaller: normalize the data, or use a smaller init of the layer before"
        return _Reason("warning", f": {place} is saturated, flat at all of these values", fix)
    if name in _BOUNDS:
        return _Reason("warning", f": {place} is flat at all of these values", "choose bounds that values lie between")
    return _Reason("warning", f": {place} hands none on")


def _of_relu(run: Run, op: Op, why: str) -> _Reason:
    if op.call is None:
        return _Reason("note", f"{why} and lets none through")  # a hinge: nothing is left to learn from this batch
    units = run.watch.units[run.watch.ops.index(op)]
    weight = None if units.vary else _zero_weight_before(run, op.inputs[0])
    if weight is not None:
        path = _path(run, weight)
        return _Reason("warning", f"{why} and lets none through, because {path} is all 0", _anew(path))
    if op.outputs[0].numel() < _ENOUGH or not units.vary:
        return _Reason("note", f"{why} and lets none through", "try a larger batch of real data")
    return _Reason("warning", f"{why} and lets none through", "try a smaller learning rate, another init, or LeakyReLU")


def _zero_operand(run: Run, op: Op, way: set[int]) -> Tensor | None:
    """What an operation multiplies by: an input beside those on the way that is all 0, and no bias."""
    others = [t for t in op.inputs if t is not None and id(t) not in way]
    if any(isinstance(t, Parameter) and t.ndim > 1 for t in op.inputs):
        others = [t for t in others if t.ndim > 1 or not isinstance(t, Parameter)]
    return next((t for t in others if run.watch.worst_of(t) == ZERO), None)


def _by_weight(run: Run, weight: Parameter, why: str) -> _Reason:
    path, g = _path(run, weight), run.gradients.get(id(weight))
    if g is not None and worst(g) != ZERO:
        return _Reason("note", f"{why} {path}, which is all 0", f"{_anew(path)}, unless it is meant so, as for a branch that begins at 0")
    return _Reason("warning", f"{why} {path}, which is all 0, and stays so: it has no gradient either", _anew(path))


def _by_input(run: Run, t: Tensor, why: str) -> _Reason:
    weight = _zero_weight_before(run, t)
    if weight is not None:
        path = _path(run, weight)
        return _Reason("warning", f"{why} an input that is all 0, because {path} is", _anew(path))
    if any(run.watch.worst_of(x) == ZERO for x in run.inputs):
        return _Reason("note", f"{why} an input that is all 0", "try real data")
    made = next((op for op in run.watch.ops if any(y is t for y in op.outputs)), None)
    return _Reason(
        "note", f"{why} {'a constant that' if made is None or not made.inputs else f'what {place_of(made)} made, which'} is all 0"
    )


def _zero_weight_before(run: Run, t: Tensor | None) -> Parameter | None:
    """Weights that are all 0 and that a tensor was made with: of the operation that made it, or of those before that only pass zeros on."""
    made = {id(y): op for op in run.watch.ops for y in op.outputs}
    while (op := made.pop(id(t), None)) is not None:
        for x in op.inputs:
            if isinstance(x, Parameter) and x.ndim > 1 and run.watch.worst_of(x) == ZERO:
                return x
        t = next((x for x in op.inputs if x is not None and id(x) in made), None)
    return None


def _path(run: Run, p: Parameter) -> str:
    return next((path for path, q in run.parameters.items() if q is p), "a Parameter")


def _anew(path: str) -> str:
    return f"draw {path} anew, with nn.init.kaiming_uniform_ or the layer's reset_parameters()"
