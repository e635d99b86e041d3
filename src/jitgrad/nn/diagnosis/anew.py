"""Layers and Parameters that forward makes: each call draws them anew, and no optimizer has them."""

from __future__ import annotations

from collections.abc import Iterator

from jitgrad.autograd import Line
from jitgrad.nn._trace import Op
from jitgrad.nn.diagnosis.report import Finding, listed
from jitgrad.nn.diagnosis.watch import Run, place_of
from jitgrad.nn.parameter import Parameter


def made_in_forward(run: Run) -> Iterator[Finding]:
    """Parameters that operations of the model used, that are nowhere in it, and that were made while it ran."""
    known = {id(p) for p in run.parameters.values()}
    first: dict[int, tuple[Parameter, Op]] = {}
    for op in run.watch.ops:
        for t in op.inputs:
            if isinstance(t, Parameter) and id(t) not in known and t.requires_grad and op.call is not None and not _only_fills(op):
                first.setdefault(id(t), (t, op))
    lines: dict[Line | None, list[tuple[Parameter, Op]]] = {}
    for p, op in first.values():
        made = _made(run, p)
        if made is not None:
            lines.setdefault(made.line or op.line, []).append((p, op))
    kept = set(map(id, run.kept))
    for line, some in lines.items():
        several = len(some) > 1
        shapes = listed([str(tuple(p.shape)) for p, _ in some])
        places = listed(list(dict.fromkeys(place_of(op) for _, op in some)))
        what = f"{places} used {'Parameters' if several else 'a Parameter'} of shape {shapes} that {'are' if several else 'is'} made"
        path = some[0][1].call.path  # type: ignore[union-attr]
        if all(id(p) in kept for p, _ in some):
            fix = "make the layer in __init__, or run the model once before the optimizer is made"
            yield Finding("made in forward", "note", path, f"{what} in forward: an optimizer made before does not have it.", line, fix)
        else:
            fix = "make the layer in __init__ and assign it to an attribute, as in self.layer = nn.Linear(...)"
            yield Finding("made in forward", "warning", path, f"{what} anew in each call and never trained.", line, fix)


def _only_fills(op: Op) -> bool:
    """Whether an operation is part of making a Parameter: an init writes to it, and a new one is cut from what it is made of."""
    return bool(op.prim.mutates) or op.prim.detaches


def _made(run: Run, p: Parameter) -> Op | None:
    """The operation that cut a Parameter from what it was made of, if that was in this run."""
    for op in run.watch.ops:
        if any(t is p for t in op.inputs):
            return None
        if op.prim.detaches and op.outputs[0].array is p.array:
            return op
    return None
