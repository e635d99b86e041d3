"""Parameters without a gradient, and why; and those that are frozen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from jitgrad.autograd import Line
from jitgrad.autograd.function import Call as FunctionCall
from jitgrad.nn._trace import Op
from jitgrad.nn.diagnosis.flow import Following, Reaching
from jitgrad.nn.diagnosis.report import Finding, listed
from jitgrad.nn.diagnosis.watch import Run, by_module, named, place_of
from jitgrad.nn.diagnosis.zeros import zero_gradients
from jitgrad.nn.parameter import Parameter

if TYPE_CHECKING:
    from jitgrad.nn.module import Module


class Cause(NamedTuple):
    """Why parameters have no gradient: in words, the line, the fix."""

    reason: str
    line: Line | None = None
    fix: str = ""
    severity: str = "warning"


def gradients(run: Run, explained: set[int], dead: list[Op]) -> list[Finding]:
    """Findings about the parameters of a run that came to its end.

    Missing gradients of the parameters ``explained`` (by id), and zeros that come from the operations ``dead``, are told elsewhere.
    """
    return [*_missing(run, explained), *zero_gradients(run, dead), *_frozen(run)]


# ---- none
def _missing(run: Run, explained: set[int]) -> Iterator[Finding]:
    reaching = run.flow.reaching(run.roots)
    causes: dict[Cause, list[str]] = {}
    for path, p in run.trainable.items():
        if run.gradients.get(id(p)) is None and id(p) not in explained:
            causes.setdefault(_cause(run, p, reaching), []).append(path)
    for cause, paths in causes.items():
        names, several = _names(run, paths, set(map(id, run.trainable.values())))
        text = f"{listed(names)} {'have' if several else 'has'} no gradient: {cause.reason}."
        yield Finding("no gradient", cause.severity, listed(names), text, cause.line, cause.fix)


def _cause(run: Run, p: Parameter, reaching: Reaching) -> Cause:
    """Why no gradient came to a parameter."""
    ops, reads = run.watch.ops, run.watch.reads

    def stops(i: int, op: Op) -> bool:
        return not (run.watch.recorded[i] if op.prim.mutates else run.watch.carries[i])

    way = run.flow.following([p], stops)
    if not way.ops:
        read = next((r for r in reads if r.tensor is p), None)
        if read is not None:
            return Cause("only read as plain numbers, by item(), tolist() or numpy()", read.line, "compute with jitgrad's operations")
        return Cause("never used in forward", None, "use it in forward, or remove it")
    cut = next((i for i in way.ops if stops(i, ops[i]) and i in reaching.ops), None)
    if cut is not None:
        return _cut(run, cut)
    silent = _silent_rule(run, way)
    if silent is not None and any(isinstance(value, FunctionCall) for value in silent.p):
        return Cause(f"the backward of {place_of(silent)} gives none", silent.line, "return a gradient for it from backward")
    if silent is not None and run.watch.differentiated:
        return Cause(f"only derivatives of {place_of(silent)} are used, in which it drops out", silent.line, severity="note")
    beyond = run.flow.following([p])
    for r in reads:
        if r.tensor in beyond:
            reason = "the way to the loss ends where values become plain numbers, by item(), tolist() or numpy()"
            return Cause(reason, r.line, "compute with jitgrad's operations up to the loss")
    if run.given_loss and any(t in way for t in run.result):
        reason = "it is in what the model returns, but the loss does not use that"
        return Cause(reason, None, "add that output to the loss, or freeze the layers that make it")
    if any(t in way and not isinstance(t, Parameter) for t in run.kept):
        reason = "the model keeps what comes of it in an attribute, and the loss does not use that"
        some = any(g is not None for g in run.gradients.values())
        return Cause(reason, None, "if training needs it, add it to the loss", "note" if some else "warning")
    last = ops[beyond.ops[-1]]
    return Cause(f"the way from it ends in {place_of(last)} and reaches no output", last.line, "use that result, or remove it")


def _cut(run: Run, i: int) -> Cause:
    op = run.watch.ops[i]
    name, where = op.prim.name, place_of(op)
    if op.prim.detaches:
        return Cause("detach() cuts the way to the loss", op.line, "leave out detach() (or .data) there")
    if not run.watch.recorded[i]:
        return _not_recorded(run, i)
    if name == "cast":
        return Cause(f"a cast to {op.outputs[0].dtype.name} ends the gradient", op.line, "keep floats up to the loss")
    return Cause(f"{where} has no gradient", op.line, f"use something that can be differentiated in the place of {name}")


def _not_recorded(run: Run, i: int) -> Cause:
    """One cause for all that ran without recording together: the outermost modules that did, and the line that called the first."""
    recorded, ops = run.watch.recorded, run.watch.ops
    first = next((j + 1 for j in range(i, -1, -1) if recorded[j]), 0)
    end = next((j for j in range(i, len(ops)) if recorded[j]), len(ops))
    names: dict[str, Line | None] = {}
    for op in ops[first:end]:
        whole = None
        call = op.call
        while call is not None and not any(recorded[j] for j in call.ops):
            whole, call = call, call.parent
        names.setdefault(named(whole) if whole is not None else place_of(op), whole.line if whole is not None else op.line)
    line = next(iter(names.values()))
    fix = "take it out of the no_grad() block" if line is not None else "take its forward out of no_grad()"
    return Cause(f"{listed(list(names))} ran under no_grad()", line, fix)


def _silent_rule(run: Run, way: Following) -> Op | None:
    """An operation on the way whose outputs got a gradient, and whose inputs on the way got none."""
    arrived = run.watch.arrived
    for i in reversed(way.ops):
        op = run.watch.ops[i]
        if any(id(y) in arrived for y in op.outputs):
            inputs = [t for t in op.inputs if t is not None and t in way]
            if inputs and not any(id(t) in arrived for t in inputs):
                return op
    return None


# ---- frozen
def _frozen(run: Run) -> Iterator[Finding]:
    frozen = {path: p for path, p in run.parameters.items() if not p.requires_grad and p.is_floating_point()}
    if frozen:
        names, _ = _names(run, list(frozen), set(map(id, run.parameters.values())), leaves=True)
        n = sum(p.numel() for p in frozen.values())
        text = f"frozen: {listed(names)} ({n:,} parameter{'s' * (n > 1)}): requires_grad is False, so they are not trained."
        yield Finding("frozen", "note", listed(names), text)


# ---- names
def _names(run: Run, paths: list[str], among: set[int], leaves: bool = False) -> tuple[list[str], bool]:
    """Parameters in words, whole modules by their names (those without modules below only if ``leaves``); and whether it is several.

    A module is whole when all its parameters that are ``among`` these ids are at the paths.
    """
    whole = list(_whole("", run.model, {id(run.parameters[path]) for path in paths}, among, leaves))
    rest = [path for path in paths if not any(path.startswith(f"{w}.") for w in whole if w) and "" not in whole]
    return [w or "all of the model" for w in whole] + by_module(rest), len(whole) + len(rest) > 1


def _whole(path: str, m: Module, some: set[int], among: set[int], leaves: bool) -> Iterator[str]:
    """The outermost modules whose parameters are all among some."""
    own = {id(p) for _, p in m._named("_parameters", "", True, True)} & among
    if own and own <= some and (leaves or any(len(c._parameters) for c in m.modules() if c is not m)):
        yield path
    elif own & some:
        for name, child in m.named_children():
            yield from _whole(f"{path}.{name}" if path else name, child, some, among, leaves)
