"""Modules that were never called, and those whose output never reached the result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import Tensor
from jitgrad.nn._place import short_name
from jitgrad.nn._trace import Call, Op, tensors_in
from jitgrad.nn.containers import ModuleDict, ModuleList, Sequential
from jitgrad.nn.diagnosis.flow import Following, Reaching
from jitgrad.nn.diagnosis.report import Finding, listed
from jitgrad.nn.diagnosis.watch import Run, dropped_value, named
from jitgrad.nn.parameter_containers import BufferDict, BufferList, ParameterDict, ParameterList

if TYPE_CHECKING:
    from jitgrad.nn.module import Module


_CHAINED = ", so that each layer gets what the one before it returned"
_HOLDERS = (ParameterList, ParameterDict, BufferList, BufferDict)


def reach(run: Run) -> tuple[list[Finding], set[int]]:
    """Findings about modules, and the ids of the parameters whose missing gradients they explain."""
    explained: set[int] = set()
    if run.stage == "forward":
        return list(_dropped_before_error(run)), explained
    return [*_never_called(run, explained), *_dropped(run, explained)] if run.followed else [], explained


# ---- never called
def _never_called(run: Run, explained: set[int]) -> Iterator[Finding]:
    used_by = {id(t): op for op in run.watch.ops for t in op.inputs}
    returned = {id(t) for t in run.result}
    idle: list[tuple[str, Module]] = []
    lost: dict[str, list[tuple[str, Module]]] = {}  # by the path without numbers: those of a list, or of its blocks
    for path, m in _outermost("", run.model, {id(c.module) for c in run.watch.calls}):
        parameters = [p for _, p in m._named("_parameters", "", True, True)]
        used = [p for p in parameters if id(p) in used_by]
        if not parameters:
            idle.append((path, m))
        elif not used and any(id(p) in returned for p in parameters):
            continue
        elif not used:
            explained.update(map(id, parameters))
            lost.setdefault(re.sub(r"\d+", "*", path), []).append((path, m))
        else:
            yield _used_all_the_same(run, path, m, used, used_by[id(used[0])])
    for some in lost.values():
        n = sum({id(p): p.numel() for _, m in some for _, p in m._named("_parameters", "", True, True)}.values())
        numbers = f"{n:,} parameter{'s were' if n > 1 else ' was'} not used in this run"
        text = f"{_names(some)} never called: {'their' if len(some) > 1 else 'its'} {numbers}."
        fix = f"call {_in_code(run.model, some[0][0])}, or remove it; one run shows one route: others may lead there"
        severity = "warning"
        if not run.model.training:
            severity, text = "note", f"{text[:-1]}, in evaluation mode."
        yield Finding("never called", severity, listed([path for path, _ in some]), text, fix=fix)
    if idle:
        text = f"{_names(idle)} never called, and {'have' if len(idle) > 1 else 'has'} no parameters."
        yield Finding("never called", "note", listed([path for path, _ in idle]), text)


def _outermost(path: str, m: Module, called: set[int]) -> Iterator[tuple[str, Module]]:
    """The modules below m that were not called and have nothing below them that was; lists and dicts are looked into."""
    for name, child in m.named_children():
        below = f"{path}.{name}" if path else name
        if any(id(x) in called for x in child.modules()) or isinstance(child, (ModuleList, ModuleDict)):
            yield from _outermost(below, child, called)
        elif not _holds_only(child):
            yield below, child


def _used_all_the_same(run: Run, path: str, m: Module, used: list[Any], op: Op) -> Finding:
    called = [c for c in run.watch.calls if any(p is q for p in used for q in c.module._parameters.values())]
    what = f"{path} ({short_name(m)}) was never called"
    if called:
        text = f"{what}: its parameters are tied to those of {called[0].path}, which was."
        return Finding("never called", "note", path, text)
    text = f"{what}, but its parameters were used by {op.prim.name}: hooks on it do not run."
    fix = f"call {_in_code(run.model, path)}, not its forward, and do not take its weight"
    return Finding("never called", "note", path, text, op.line, fix)


def _in_code(model: Module, path: str) -> str:
    """``self.layers[2].fc(...) in the forward of Net`` for a path that ends so."""
    owner = m = model
    inside: list[str] = []
    for step in path.split("."):
        if not isinstance(m, (Sequential, ModuleList, ModuleDict)):
            owner, inside = m, []
        plain = step.isidentifier() and not isinstance(m, ModuleDict)
        inside.append(f".{step}" if plain else f"[{step}]" if not isinstance(m, ModuleDict) else f"[{step!r}]")
        m = m.get_submodule(step)
    return f"self{''.join(inside)}(...) in the forward of {type(owner).__name__}"


# ---- called, and dropped
def _dropped(run: Run, explained: set[int]) -> Iterator[Finding]:
    if ((run.opaque or not run.result) and run.loss is None) or run.watch.differentiated:
        return  # what the model returned cannot be looked into, or was made on a way back that is not in the trace
    fresh = {id(c): _fresh(c) for c in run.watch.calls}
    reaching = _uses(run, [t for c in run.watch.calls if c.parent is not None for t in fresh[id(c)]])
    reached: dict[int, bool] = {}  # by module: whether one of its calls reached the result
    for c in run.watch.calls:
        if fresh[id(c)]:
            key = id(c.module)
            reached[key] = reached.get(key, False) or any(t in reaching for t in fresh[id(c)])
    dead = [c for c in run.watch.calls if c.parent is not None and fresh[id(c)] and not reached[id(c.module)]]
    dead = [c for c in dead if not _within(c, dead)]
    after = {id(c): run.flow.following(fresh[id(c)]) for c in dead}
    last = [c for c in dead if not any(d is not c and any(t in after[id(c)] for t in fresh[id(d)]) for d in dead)]
    lines: dict[Any, list[Call]] = {}
    for c in last:
        lines.setdefault(c.line, []).append(c)
    nothing = all(g is None for g in run.gradients.values())
    whole = nothing and all(c in dead for c in run.watch.calls if c.parent is run.watch.calls[0] and fresh[id(c)])
    for line, calls in lines.items():
        before = [d for d in dead if d not in last and any(t in after[id(d)] for c in calls for t in fresh[id(c)])]
        explained.update(id(p) for c in (*calls, *before) for _, p in c.module._named("_parameters", "", True, True))
        held = _held(run, [after[id(c)] for c in calls])
        yield _one_line(line, calls, before, whole, *held)


def _uses(run: Run, made: list[Tensor]) -> Reaching:
    """What is used: by the result, by what attributes keep, and by Python.

    Where nothing of what modules made reached the result, attributes are no use of it, nor are numbers that Python read, as for a
    print; unless the result holds what may have been made of these numbers.
    """
    flow, ends, reads = run.flow, [*run.result, *run.roots], [r.tensor for r in run.watch.reads]
    alone = flow.reaching(ends)
    if not run.parameters or any(t in alone for t in (*made, *run.parameters.values())):
        return flow.reaching([*ends, *run.kept, *reads])
    from_here = {id(t) for t in (*run.inputs, *run.model.buffers())} | {id(y) for op in run.watch.ops for y in op.outputs}
    return flow.reaching([*ends, *reads]) if alone.tensors - from_here else alone


def _held(run: Run, after: list[Following]) -> tuple[str, str]:
    """Who has something of what the result does not depend on, and what else could be done then."""
    if any(r.tensor in way for way in after for r in run.watch.reads):
        return "Python only read numbers of it, by item(), tolist() or numpy().", ""
    if any(t in way for way in after for t in run.kept):
        more = "" if run.given_loss else "; where the loss takes it from the attribute, pass that loss to diagnose"
        return "An attribute keeps it.", more
    return "", ""


def _one_line(line: Any, calls: list[Call], before: list[Call], whole: bool, held: str, more: str) -> Finding:
    names = list(dict.fromkeys(named(c) for c in calls))
    mended = dropped_value(calls[0])
    several = len(names) > 1
    if whole:
        end = f"is {'dropped' if mended else 'not used'}: the model returns something else"
    else:
        end = "is dropped" if mended else "never reached the result"
    text = f"{listed(names)} {'were' if several else 'was'} called, but what {'they' if several else 'it'} returned {end}."
    if held:
        text += f" {held}"
    if before:
        text += f" {listed([c.path for c in before])} {'lead' if len(before) > 1 else 'leads'} only there."
    if mended:
        fix = mended + (_CHAINED if several else ", or remove the call")
    else:
        fix = f"use what {'they return' if several else 'it returns'} in what forward returns, or remove the call{more}"
    severity = "error" if (mended or (whole and not held)) and _has_parameters(calls) else "warning"
    return Finding("output dropped", severity, listed([c.path for c in calls]), text, line, fix)


def _dropped_before_error(run: Run) -> Iterator[Finding]:
    """Where forward failed: only calls that are statements of their own, whose values certainly went nowhere."""
    lines: dict[Any, list[Call]] = {}
    for c in run.watch.calls:
        if c.parent is not None and dropped_value(c) and (c.error is not None or _fresh(c)):
            lines.setdefault(c.line, []).append(c)
    used = {id(t) for op in run.watch.ops for t in op.inputs} | {id(t) for t in run.kept}
    for line, calls in lines.items():
        done = [c for c in calls if c.error is None]
        if any(id(t) in used for c in done for t in _fresh(c)) or not _has_parameters(calls):
            continue
        failed = [c for c in calls if c.error is not None]
        text = f"{listed([named(c) for c in done])} {'were' if len(done) > 1 else 'was'} called, but what was returned is dropped"
        if not done:
            text = f"what {named(failed[0])} returns is dropped"
        elif failed:
            text += f", so that {named(failed[0])} was given what came before {'them' if len(done) > 1 else 'it'}"
        fix = f"{dropped_value(calls[0])}{_CHAINED if len(calls) > 1 else ''}"
        yield Finding("output dropped", "error", listed([c.path for c in calls]), text + ".", line, fix)


def _fresh(call: Call) -> list[Tensor]:
    """The Tensors that a call returned and did not get: a module that hands its input on has made nothing."""
    given = {id(t) for t in tensors_in([call.args, call.kwargs])}
    return [t for t in tensors_in(call.output) if id(t) not in given]


def _within(call: Call, others: list[Call]) -> bool:
    parent = call.parent
    while parent is not None:
        if any(parent is c for c in others):
            return True
        parent = parent.parent
    return False


def _holds_only(m: Module) -> bool:
    """Whether a module only holds parameters or buffers, and is not to be called."""
    return isinstance(m, _HOLDERS) or type(m).forward is type(m)._no_forward


def _has_parameters(calls: list[Call]) -> bool:
    return any(True for c in calls for _ in c.module._named("_parameters", "", True, True))


def _names(some: list[tuple[str, Module]]) -> str:
    return f"{listed([f'{path} ({short_name(m)})' for path, m in some])} {'were' if len(some) > 1 else 'was'}"
