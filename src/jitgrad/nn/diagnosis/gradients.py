"""Parameters without a gradient, or with one that is exactly zero, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import Line
from jitgrad.nn._trace import Op
from jitgrad.nn.diagnosis.flow import Following, Reaching
from jitgrad.nn.diagnosis.report import Finding, listed
from jitgrad.nn.diagnosis.watch import ZERO, Run, place_of, worst
from jitgrad.nn.parameter import Parameter
from jitgrad.ops.activation import RELU

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

Cause = tuple[str, Line | None, str]  # the reason, the line, the fix
_FLAT = frozenset({"sign", "floor", "ceil", "round"})
_KEPT = "the model keeps what comes of it in an attribute, and the loss does not use that"
_ENOUGH = 32  # so many zeros of a relu are no accident


class Gradients:
    """Findings about the parameters of a run that came to its end.

    Missing gradients of the parameters ``explained`` (by id), and zeros that come from the operations ``dead``, are told elsewhere.
    """

    def __init__(self, run: Run, explained: set[int], dead: list[Op]) -> None:
        self.run = run
        self.dead = dead
        self.reaching: Reaching = run.flow.reaching(run.roots)
        self.missing = {
            path: p for path, p in run.trainable.items() if run.gradients.get(id(p)) is None and id(p) not in explained
        }  # fmt: skip
        self.findings = [*self._missing(), *self._zero(), *self._frozen()]

    # ---- none
    def _missing(self) -> Iterator[Finding]:
        causes: dict[Cause, list[str]] = {}
        for path, p in self.missing.items():
            causes.setdefault(self._cause(p), []).append(path)
        for (reason, line, fix), paths in causes.items():
            names = by_module(paths)
            has = "have" if len(paths) > 1 else "has"
            severity = "note" if reason == _KEPT else "warning"
            yield Finding("no gradient", severity, listed(names), f"{listed(names)} {has} no gradient: {reason}.", line, fix)

    def _cause(self, p: Parameter) -> Cause:
        """Why no gradient came to a parameter."""
        run = self.run
        way = run.flow.following([p], self._stops)
        if not way.ops:
            read = next((r for r in run.watch.reads if r.tensor is p), None)
            if read is not None:
                return "only read as plain numbers, by item(), tolist() or numpy()", read.line, "compute with jitgrad's operations"
            return "never used in forward", None, "use it in forward, or remove it"
        cuts = [i for i in way.ops if self._stops(i, run.watch.ops[i])]
        for i in cuts:
            if i in self.reaching.ops:
                return self._cut(run.watch.ops[i], run.watch.recorded[i])
        silent = self._silent_rule(p, way)
        if silent is not None:
            return f"the backward of {place_of(silent)} gives none", silent.line, "return a gradient for it from backward"
        beyond = run.flow.following([p])
        for r in run.watch.reads:
            if r.tensor in beyond:
                reason = "the way to the loss ends where values become plain numbers, by item(), tolist() or numpy()"
                return reason, r.line, "compute with jitgrad's operations up to the loss"
        if run.given_loss and any(t in way for t in run.result):
            reason = "it is in what the model returns, but the loss does not use that"
            return reason, None, "add that output to the loss, or freeze the layers that make it"
        if any(t in way and not isinstance(t, Parameter) for t in run.kept):
            return _KEPT, None, "if training needs it, add it to the loss"
        last = run.watch.ops[beyond.ops[-1]]
        return f"the way from it ends in {place_of(last)} and reaches no output", last.line, "use that result, or remove it"

    def _stops(self, i: int, op: Op) -> bool:
        """Whether no gradient passes an operation."""
        if op.prim.mutates:
            return not self.run.watch.recorded[i]
        return not self.run.watch.carries[i]

    def _cut(self, op: Op, recorded: bool) -> Cause:
        name, where = op.prim.name, place_of(op)
        if op.prim.detaches:
            return "detach() cuts the way to the loss", op.line, "leave out detach() (or .data) there"
        if not recorded:
            return f"{where} ran under no_grad()", op.line, "take it out of the no_grad() block"
        if name == "cast":
            return f"a cast to {op.outputs[0].dtype.name} ends the gradient", op.line, "keep floats up to the loss"
        return f"{where} has no gradient", op.line, f"use something that can be differentiated in the place of {name}"

    def _silent_rule(self, p: Parameter, way: Following) -> Op | None:
        """An operation on the way whose outputs got a gradient, and whose inputs on the way got none."""
        arrived = self.run.watch.arrived
        for i in reversed(way.ops):
            op = self.run.watch.ops[i]
            if any(id(y) in arrived for y in op.outputs):
                inputs = [t for t in op.inputs if t is not None and t in way]
                if inputs and not any(id(t) in arrived for t in inputs):
                    return op
        return None

    # ---- zero
    def _zero(self) -> Iterator[Finding]:
        if not all(t.array.size for t in self.run.inputs):
            return  # of an empty batch all gradients are zero
        causes: dict[Any, tuple[str, str, Op | None, str, list[str]]] = {}
        for path, m in self.run.model.named_modules():
            own = {name: p for name, p in m._parameters.items() if p is not None and p.requires_grad and p.array.size}
            gradients = [g for p in own.values() if (g := self.run.gradients.get(id(p))) is not None]
            # A bias that a normalization takes out again has no effect; its weight does. So all of a module's must be zero.
            if not gradients or len(gradients) < len(own) or any(worst(g) != ZERO for g in gradients):
                continue
            first = next(iter(own.values()))
            culprit = self._culprit(first)
            if any(culprit is op for op in self.dead):
                continue
            severity, why, fix = self._zero_reason(culprit)
            entry = causes.setdefault(culprit and (culprit.line, culprit.prim.name, severity), (severity, why, culprit, fix, []))
            entry[4].extend(f"{path}.{name}" if path else name for name in own)
        for severity, why, culprit, fix, paths in causes.values():
            names = by_module(paths)
            text = f"the gradient of {listed(names)} is exactly zero everywhere{why}."
            yield Finding("zero gradient", severity, listed(names), text, None if culprit is None else culprit.line, fix)

    def _culprit(self, p: Parameter) -> Op | None:
        """The operation that got a gradient other than zero and handed on only zeros, on the way to p."""
        arrived = self.run.watch.arrived
        zeros = {id(p)}
        for op in self.run.watch.ops:
            if any(id(t) in zeros for t in op.inputs):
                came = [arrived[id(y)] for y in op.outputs if id(y) in arrived]
                if any(state != ZERO for state in came):
                    return op
                if came:
                    zeros.update(map(id, op.outputs))
        return None

    def _zero_reason(self, op: Op | None) -> tuple[str, str, str]:
        """Severity, reason and fix."""
        if op is None:
            return "warning", ": it does not change the loss", "look at what is computed from it"
        place = place_of(op)
        if op.prim is RELU:
            y = op.outputs[0]
            why = f": {place} is 0 for this whole batch and lets none through"
            if y.numel() < _ENOUGH or not self.run.watch.units[self.run.watch.ops.index(op)].vary:
                return "note", why, "try a larger batch of real data"
            return "warning", why, "try a smaller learning rate, another init, or LeakyReLU"
        if op.prim.name in _FLAT:
            return "warning", f": {place} is flat, its derivative is 0", f"use a smooth function in the place of {op.prim.name}"
        other = next((t for t in op.inputs if t is not None and self.run.watch.worst_of(t) == ZERO), None)
        if other is not None:
            what = "weights that are all 0" if isinstance(other, Parameter) else "an input that is all 0"
            return "note", f": {place} multiplies by {what}", "" if isinstance(other, Parameter) else "try real data"
        return "warning", f": {place} hands none on", "look at the values there"

    # ---- frozen
    def _frozen(self) -> Iterator[Finding]:
        frozen = [path for path, p in self.run.parameters.items() if not p.requires_grad and p.is_floating_point()]
        if frozen:
            whole = list(_wholly_frozen("", self.run.model))
            rest = [path for path in frozen if not any(path == w or path.startswith(f"{w}.") for w in whole if w) and "" not in whole]
            names = [w or "all of the model" for w in whole] + by_module(rest)
            n = sum(self.run.parameters[path].numel() for path in frozen)
            text = f"frozen: {listed(names)} ({n:,} parameter{'s' * (n > 1)}): requires_grad is False, so they are not trained."
            yield Finding("frozen", "note", listed(names), text)


def _wholly_frozen(path: str, m: Module) -> Iterator[str]:
    """The outermost modules none of whose parameters is trained."""
    parameters = [p for _, p in m._named("_parameters", "", True, True)]
    if parameters and not any(p.requires_grad for p in parameters):
        yield path
    elif parameters:
        for name, child in m.named_children():
            yield from _wholly_frozen(f"{path}.{name}" if path else name, child)


def by_module(paths: list[str]) -> list[str]:
    """``fc (weight, bias)`` for fc.weight and fc.bias."""
    modules: dict[str, list[str]] = {}
    for path in paths:
        owner, _, name = path.rpartition(".")
        modules.setdefault(owner, []).append(name)
    return [f"{owner} ({', '.join(names)})" if owner and len(names) > 1 else f"{owner}.{names[0]}" if owner else ", ".join(names)
            for owner, names in modules.items()]  # fmt: skip
