"""Modules that were never called, and those whose output never reached the result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import Tensor
from jitgrad.nn._place import short_name
from jitgrad.nn._trace import Call, tensors_in
from jitgrad.nn.containers import ModuleDict, ModuleList, Sequential
from jitgrad.nn.diagnosis.report import Finding, listed
from jitgrad.nn.diagnosis.watch import Run, dropped_value, named
from jitgrad.nn.parameter_containers import BufferDict, BufferList, ParameterDict, ParameterList

if TYPE_CHECKING:
    from jitgrad.nn.module import Module


_CHAINED = ", so that each layer gets what the one before it returned"
_HOLDERS = (ParameterList, ParameterDict, BufferList, BufferDict)


class Reach:
    """Findings about modules; ``explained`` are the ids of the parameters whose missing gradients they explain."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.explained: set[int] = set()
        self.findings: list[Finding] = []
        if run.stage == "forward":
            self.findings = list(self._dropped_before_error())
        elif run.followed:
            self.findings = [*self._never_called(), *self._dropped()]

    # ---- never called
    def _never_called(self) -> Iterator[Finding]:
        run = self.run
        self._called = {id(c.module) for c in run.watch.calls}
        self._used = {id(t): i for i, op in enumerate(run.watch.ops) for t in op.inputs}
        returned = {id(t) for t in run.result}
        idle: list[tuple[str, Module]] = []
        lost: dict[str, list[tuple[str, Module]]] = {}  # by the path without numbers: those of a list, or of its blocks
        for path, m in self._outermost("", run.model):
            parameters = [p for _, p in m._named("_parameters", "", True, True)]
            used = [p for p in parameters if id(p) in self._used]
            if not parameters:
                idle.append((path, m))
            elif not used and any(id(p) in returned for p in parameters):
                continue
            elif not used:
                self.explained.update(map(id, parameters))
                lost.setdefault(re.sub(r"\d+", "*", path), []).append((path, m))
            else:
                yield self._used_all_the_same(path, m, used)
        for some in lost.values():
            n = sum({id(p): p.numel() for _, m in some for _, p in m._named("_parameters", "", True, True)}.values())
            numbers = f"{n:,} parameter{'s do' if n > 1 else ' does'} nothing"
            text = f"{_names(some)} never called: {'their' if len(some) > 1 else 'its'} {numbers}."
            fix = f"call {self._in_code(some[0][0])}, or remove it"
            severity = "warning"
            if not run.model.training:
                severity, text = "note", f"{text[:-1]} in evaluation mode."
            yield Finding("never called", severity, listed([path for path, _ in some]), text, fix=fix)
        if idle:
            text = f"{_names(idle)} never called, and {'have' if len(idle) > 1 else 'has'} no parameters."
            yield Finding("never called", "note", listed([path for path, _ in idle]), text)

    def _outermost(self, path: str, m: Module) -> Iterator[tuple[str, Module]]:
        """The modules below m that were not called and have nothing below them that was; lists and dicts are looked into."""
        for name, child in m.named_children():
            below = f"{path}.{name}" if path else name
            if any(id(x) in self._called for x in child.modules()) or isinstance(child, (ModuleList, ModuleDict)):
                yield from self._outermost(below, child)
            elif not _holds_only(child):
                yield below, child

    def _used_all_the_same(self, path: str, m: Module, used: list[Any]) -> Finding:
        called = [c for c in self.run.watch.calls if any(p is q for p in used for q in c.module._parameters.values())]
        what = f"{path} ({short_name(m)}) was never called"
        if called:
            text = f"{what}: its parameters are tied to those of {called[0].path}, which was."
            return Finding("never called", "note", path, text)
        op = self.run.watch.ops[self._used[id(used[0])]]
        text = f"{what}, but its parameters were used by {op.prim.name}: hooks on it do not run."
        return Finding(
            "never called", "note", path, text, op.line, f"call {self._in_code(path)}, not its forward, and do not take its weight"
        )

    def _in_code(self, path: str) -> str:
        """``self.layers[2].fc(...) in the forward of Net`` for a path that ends so."""
        owner = m = self.run.model
        inside: list[str] = []
        for step in path.split("."):
            if not isinstance(m, (Sequential, ModuleList, ModuleDict)):
                owner, inside = m, []
            inside.append(f"[{step}]" if step.isdigit() else f".{step}")
            m = m.get_submodule(step)
        return f"self{''.join(inside)}(...) in the forward of {type(owner).__name__}"

    # ---- called, and dropped
    def _dropped(self) -> Iterator[Finding]:
        run = self.run
        if ((run.opaque or not run.result) and run.loss is None) or run.watch.differentiated:
            return  # what the model returned cannot be looked into, or was made on a way back that is not in the trace
        reaching = run.flow.reaching([*run.result, *run.roots, *run.kept, *(r.tensor for r in run.watch.reads)])
        fresh = {id(c): _fresh(c) for c in run.watch.calls}
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
            yield self._one_line(line, calls, before, whole)

    def _one_line(self, line: Any, calls: list[Call], before: list[Call], whole: bool) -> Finding:
        for c in (*calls, *before):
            self.explained.update(id(p) for _, p in c.module._named("_parameters", "", True, True))
        names = list(dict.fromkeys(named(c) for c in calls))
        mended = dropped_value(calls[0])
        several = len(names) > 1
        if whole:
            end = f"is {'dropped' if mended else 'not used'}: the model returns something else"
        else:
            end = "is dropped" if mended else "never reached the result"
        text = f"{listed(names)} {'were' if several else 'was'} called, but what {'they' if several else 'it'} returned {end}."
        if before:
            text += f" {listed([c.path for c in before])} {'lead' if len(before) > 1 else 'leads'} only there."
        if mended:
            fix = mended + (_CHAINED if several else ", or remove the call")
        else:
            fix = f"use what {'they return' if several else 'it returns'} in what forward returns, or remove the call"
        severity = "error" if (mended or whole) and _has_parameters(calls) else "warning"
        return Finding("output dropped", severity, listed([c.path for c in calls]), text, line, fix)

    def _dropped_before_error(self) -> Iterator[Finding]:
        """Where forward failed: only calls that are statements of their own, whose values certainly went nowhere."""
        run = self.run
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
