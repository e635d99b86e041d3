"""Losses that take logits, and were given something else."""

from __future__ import annotations

from collections.abc import Iterator

from jitgrad.autograd import Tensor
from jitgrad.nn._trace import Op
from jitgrad.nn.diagnosis.report import Finding
from jitgrad.nn.diagnosis.watch import Run, place_of
from jitgrad.ops.activation import RELU, SIGMOID
from jitgrad.ops.loss import CROSS_ENTROPY, LOGISTIC_LOSS
from jitgrad.ops.softmax import LOG_SOFTMAX, SOFTMAX


def not_logits(run: Run) -> Iterator[Finding]:
    """Probabilities, or what a ReLU returned, given to cross_entropy or binary_cross_entropy_with_logits."""
    made = {id(y): op for op in run.watch.ops for y in op.outputs}
    told: set[int] = set()
    for op in run.watch.ops:
        loss = _loss(op)
        before = _behind_views(made, op.inputs[0]) if loss else None
        if before is None or id(before) in told or not _same_dim(op, before):
            continue
        found = _finding(loss, before)
        if found is not None:
            told.add(id(before))
            yield found


def _loss(op: Op) -> str:
    """The loss that an operation is of, empty where it is of none: the rarer forms of cross_entropy begin with log_softmax."""
    if op.prim is CROSS_ENTROPY or (op.prim is LOG_SOFTMAX and op.call is None):
        return "cross_entropy"
    return "binary_cross_entropy_with_logits" if op.prim is LOGISTIC_LOSS else ""


def _same_dim(op: Op, before: Op) -> bool:
    """Whether a softmax is along the classes, those of the loss."""
    if before.prim not in (SOFTMAX, LOG_SOFTMAX):
        return True
    classes = op.p[0] if op.prim is LOG_SOFTMAX else 1
    return before.outputs[0].shape != op.inputs[0].shape or before.p[0] == classes  # type: ignore[union-attr]


def _finding(loss: str, before: Op) -> Finding | None:
    prim, place, path = before.prim, place_of(before), before.call.path if before.call else ""
    binary = loss != "cross_entropy"
    given = f"and was given the output of {place}"
    if prim is RELU:
        text = f"{loss} takes logits of any sign, {given}: none of them is below 0."
        return Finding("softmax", "note", path, text, before.line, "leave out the relu before the loss")
    if prim is LOG_SOFTMAX and not binary:
        text = f"{loss} takes logits, {given}: the second log_softmax changes nothing."
        return Finding("softmax", "note", path, text, before.line, "leave out the log_softmax, or use nll_loss")
    if prim is SOFTMAX or (prim is SIGMOID and binary):
        text = (
            f"{loss} takes logits, {given}: it applies a {'sigmoid' if binary else 'softmax'} of its own, and learns slowly or not at all."
        )
        return Finding("softmax", "warning", path, text, before.line, f"leave out the {prim.name}")
    return None


def _behind_views(made: dict[int, Op], t: Tensor | None) -> Op | None:
    op = made.get(id(t))
    while op is not None and op.prim.geometry is not None and not op.prim.detaches:
        op = made.get(id(op.inputs[0]))
    return op
