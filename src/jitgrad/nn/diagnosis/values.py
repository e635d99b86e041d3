"""What the values of a run show: where NaN and infinity came from, dead ReLUs, a result that ignores the input."""

from __future__ import annotations

from collections.abc import Iterator

from jitgrad.autograd import Tensor
from jitgrad.nn._trace import Op, tensors_in
from jitgrad.nn.diagnosis.report import Finding, listed
from jitgrad.nn.diagnosis.watch import FINITE, INF, NAN, ZERO, Run, place_of, worst

_MANY = 8  # units of which half may be told dead
_ENOUGH = 32  # values of a unit, or of a layer, from which on zeros are no accident
_FIXES = {
    "log": "add a small number before log, or use log_softmax or a loss with logits",
    "exp": "subtract the maximum first, or use softmax or logsumexp",
    "div": "add a small number to the divisor",
    "sqrt": "add a small number before sqrt",
    "rsqrt": "add a small number before rsqrt",
    "pow": "keep the base above 0",
}


def _word(state: int) -> str:
    return "NaN" if state == NAN else "inf"


def not_finite(run: Run) -> list[Finding]:
    """Where NaN or infinity came from: the first operation that made it of finite inputs, forwards or on the way back."""
    return list(_bad_parameters(run)) or list(_forward(run)) or ([] if run.stage else list(_backward(run)))


def _bad_parameters(run: Run) -> Iterator[Finding]:
    bad = {path: state for path, p in run.parameters.items() if (state := worst(p)) > FINITE}
    if bad:
        holds = "hold" if len(bad) > 1 else "holds"
        text = f"{listed(list(bad))} {holds} {_word(max(bad.values()))} before the model runs."
        yield Finding("not finite", "error", listed(list(bad)), text, fix="draw it anew with reset_parameters(), or load a checkpoint")


def _forward(run: Run) -> Iterator[Finding]:
    ends = [t for t in _ends(run) if worst(t) > FINITE]
    if not ends:
        return
    state = max(map(worst, ends))
    bad_inputs = [i for i, t in enumerate(run.inputs) if worst(t) >= state]
    if bad_inputs:
        which = "the input" if len(run.inputs) == 1 else f"input {listed([str(i) for i in bad_inputs])}"
        severity = "error" if state == NAN else "note"  # an infinity may be a mask
        text = f"{which} holds {_word(state)}, and so does {_end(run, ends)}."
        yield Finding("not finite", severity, "", text, fix="look at the data")
        return
    ops = sorted(run.flow.reaching(ends).ops)
    i = _first_nan(run, ops) if state == NAN else _first_of_finite(run, ops)
    if i is not None:
        yield _made_by(run, i, _end(run, ends))


def _ends(run: Run) -> list[Tensor]:
    """Where NaN and infinity are looked for: they do no harm in what is masked out later."""
    if run.stage == "forward":
        return tensors_in([(c.args, c.kwargs) for c in run.watch.calls if c.error is run.error])
    return [*run.result, *([run.loss] if run.loss is not None else [])]


def _end(run: Run, ends: list[Tensor]) -> str:
    if run.stage == "forward":
        return "the layer that failed"
    return "the result" if any(t is end for t in run.result for end in ends) else "the loss"


def _first_nan(run: Run, ops: list[int]) -> int | None:
    """The operation that made the first NaN; where it made it of an infinity, the one that made that of finite inputs."""
    watch = run.watch
    for i in ops:
        if watch.after[i] == NAN and watch.before[i] and max(watch.before[i]) < NAN:
            if max(watch.before[i]) == INF:
                before = run.flow.reaching([t for t in watch.ops[i].inputs if t is not None])
                return next((j for j in [_first_of_finite(run, sorted(before.ops))] if j is not None), i)
            return i
    return None


def _first_of_finite(run: Run, ops: list[int]) -> int | None:
    """The first operation that made something else of finite inputs; a constant -inf, as in a mask, is there on purpose."""
    watch = run.watch
    return next((i for i in ops if watch.after[i] > FINITE and watch.before[i] and max(watch.before[i]) <= FINITE), None)


def _made_by(run: Run, i: int, end: str) -> Finding:
    op, state = run.watch.ops[i], run.watch.after[i]
    if max(run.watch.before[i]) == INF:
        made_of = "an input that holds infinity"
        fix = "0 * inf and inf - inf are NaN, and so is the softmax of a row that is masked out whole"
    else:
        made_of, fix = "finite inputs", _FIXES.get(op.prim.name, "look at how large its inputs are")
    text = f"{place_of(op)} made the first {_word(state)}, of {made_of}; it reaches {end}."
    return Finding("not finite", "error", op.call.path if op.call else "", text, op.line, fix)


def _backward(run: Run) -> Iterator[Finding]:
    bad = [path for path, p in run.trainable.items() if (g := run.gradients.get(id(p))) is not None and worst(g) > FINITE]
    if not bad:
        return
    several = len(bad) > 1
    state = max(worst(g) for g in run.gradients.values() if g is not None)
    op = _made_backwards(run, set(bad))
    text = f"the gradient{'s' * several} of {listed(bad)} hold{'s' * (not several)} {_word(state)}, while all values forward are finite"
    if op is None:
        yield Finding("not finite", "error", listed(bad), f"{text}.", fix="look at the values before the loss")
    else:
        fix = _FIXES.get(op.prim.name, "look at its inputs")
        yield Finding("not finite", "error", listed(bad), f"{text}: the backward of {place_of(op)} made it.", op.line, fix)


def _made_backwards(run: Run, bad: set[str]) -> Op | None:
    """The operation that got a finite gradient and handed on one that is not; the latest, which is the first on the way back."""
    arrived = run.watch.arrived
    wrong = {id(p) for path, p in run.trainable.items() if path in bad} | {key for key, state in arrived.items() if state > FINITE}
    handed_on = {id(t) for op in run.watch.ops if any(arrived.get(id(y), 0) > FINITE for y in op.outputs) for t in op.inputs}
    for op in reversed(run.watch.ops):
        came = [arrived[id(y)] for y in op.outputs if id(y) in arrived]
        if came and max(came) <= FINITE and any(id(t) in wrong and id(t) not in handed_on for t in op.inputs):
            return op
    return None


def dead_relus(run: Run) -> Iterator[tuple[Op, Finding]]:
    """ReLUs some of whose units are 0 for the whole batch: all of them, or half of many."""
    for i, units in run.watch.units.items():
        op = run.watch.ops[i]
        size = op.outputs[0].numel()
        each = size // max(units.total, 1)
        if run.watch.after[i] == ZERO and size >= _ENOUGH and units.vary:
            which = "all units are" if units.total else "everything is"
        elif units.total >= _MANY and 2 * units.dead >= units.total and each >= _ENOUGH:
            which = f"{units.dead} of {units.total} units are"
        else:
            continue
        if op.call is None:  # a hinge or a margin
            if run.watch.after[i] == ZERO:
                text = f"{place_of(op)} is 0 for this whole batch: nothing of it is left to learn from."
                yield op, Finding("dead relu", "note", "", text, op.line)
            continue
        text = f"{place_of(op)}: {which} 0 for the whole batch ({each} values{' each' * (units.total > 0)}): no gradient passes."
        fix = "try a smaller learning rate, another init of the layer before, or LeakyReLU"
        yield op, Finding("dead relu", "warning", op.call.path if op.call else "", text, op.line, fix)


def input_ignored(run: Run) -> Iterator[Finding]:
    """Whether the result depends on the input, as far as operations tell."""
    if not run.inputs or not run.result or run.opaque or run.watch.differentiated:
        return
    after = run.flow.following(run.inputs)
    if not any(t in after for t in run.result) and not any(r.tensor in after for r in run.watch.reads):
        yield Finding("constant", "warning", "", "the result does not depend on the input.", fix="use the input in forward")
